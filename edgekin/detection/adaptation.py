"""After an alarm: what has changed of the body is fitted, tried on fresh pictures, and kept or given back.

What changes is how the inspector and its engine deviate from the self-model; the self-model itself is never written to,
so giving back is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekin.detection.pool import Change, Pool
from edgekin.robot.spec import Float
from edgekin.runtime.findings import Named
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.inspector_config import CLASSES

#: Alarms that parameters may repair, and the signs of them that are one; the others are given back at once.
BODY, ENCODER, CAMERA = CLASSES[1:4]
REPAIRABLE = (BODY, ENCODER, CAMERA)
OTHERS = ("occlusion/appearance",)
FITTED = ("deviation", "offset")
#: Pictures that give the first estimate, that all is fitted to, and that then try it.
FIRST_FRAMES, FIT_FRAMES, TRY_FRAMES = 8, 38, 20
#: Remembered pictures that are measured again with every fresh one: what a tick has time for.
LOOKS = 8
#: The tried body must leave this share of the misfit at most, beyond what healthy pictures have and a standard
#: deviation of that.
LEFT = 0.3
#: How large a deviation an inspector can hold to be healthy, rad or share (ek_inspector_accept).
LARGEST = 0.8
#: An adapted body is fitted again to all pictures since the first so many, and each time that their number has doubled.
REFINE_FRAMES = 60
WATCHING, FITTING, TRYING, ADAPTED, GIVEN_BACK = "watching", "fitting", "trying", "adapted", "given back"

Picture = tuple[Float, NDArray[np.uint8]]
Changed = Callable[[Float | None, Float | None], None]


@dataclass(frozen=True)
class Adaptation:
    """What became of an alarm."""

    state: str  # WATCHING, FITTING, TRYING, ADAPTED or GIVEN_BACK
    named: Named | None  # what the inspector named at the alarm
    change: Change | None  # what is taken over; None: nothing, the body is the model
    alarm_frame: int | None  # 1 for the first picture
    done_frame: int | None  # when it was adapted or given back
    misfit: float  # mean squared error of the pictures that tried the new body, by the body before
    tried: float  # the same by the new one


class _Rounds:
    """Gauss and Newton's steps over remembered pictures, a few pictures at a time."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector, self._pool = inspector, Pool(inspector.config)

    def begin(self, change: Change, pictures: list[Picture]) -> None:
        """Begin a round around a changed body."""
        self.change, self._left = change, list(pictures)
        self._pool.clear()

    def go_on(self, looks: int) -> Change | None:
        """Measure so many pictures more; the change that the round found, when it is over."""
        sizes = self.change.sizes
        for q, masks in self._left[:looks]:
            information, score, _ = self._inspector.measure(q, masks, sizes)
            self._pool.add(q, information, score + information @ sizes)
        del self._left[:looks]
        return None if self._left else self._pool.change()


class _Contest:
    """Bodies compared on pictures that nothing was fitted to.

    Args:
        inspector: that measures.
        bodies: changes of each, or None: the model.
    """

    def __init__(self, inspector: Inspector, *bodies: Change | None) -> None:
        self.bodies = bodies
        self._inspector, self._sum, self._pictures = inspector, np.zeros(len(bodies)), 0

    def show(self, picture: Picture) -> bool:
        """Show a picture; whether that is enough."""
        self._sum += [self._inspector.measure(*picture, sizes_of(self._inspector, one))[2] for one in self.bodies]
        self._pictures += 1
        return self._pictures >= TRY_FRAMES

    @property
    def misfits(self) -> list[float]:
        """Mean squared error of each."""
        return [float(one) for one in self._sum / max(self._pictures, 1)]


def sizes_of(inspector: Inspector, change: Change | None) -> Float:
    """Return the sizes (n,) of a change, rad or share; None: the model."""
    return np.zeros(len(inspector.config.deviations)) if change is None else change.sizes


def _can_hold(change: Change | None) -> bool:
    return change is None or bool((np.abs(change.sizes) <= LARGEST).all())


class Adapter:
    """Stands between frames and an inspector.

    Args:
        inspector: of a body model. Its engine predicts the adapted body from then on.
        changed: called with the sizes (n,) that hold from now on and with the offsets (J,) rad of encoders that go with
            them; None: the model's, and none.
        fit_frames: pictures from the alarm that a change is fitted to.
    """

    def __init__(self, inspector: Inspector, changed: Changed = lambda sizes, offsets: None,
                 fit_frames: int = FIT_FRAMES) -> None:
        self._inspector, self._changed, self._fit_frames = inspector, changed, fit_frames
        self._rounds = _Rounds(inspector)
        self.reset()

    def reset(self) -> None:
        """Give everything back: the model, exactly, and no alarm."""
        self._accept(None)
        self._frames, self._fault = 0, ""
        self._remembered: list[Picture] = []
        self._go(Adaptation(WATCHING, None, None, None, None, 0.0, 0.0))

    def begin_with(self, sizes: Float, offsets: Float) -> None:
        """Begin with a body that was adapted before.

        Args:
            sizes: (n,) rad or share.
            offsets: (J,) rad that encoders read too much of commands.
        """
        self._fault = ENCODER if offsets.any() else ""
        self._keep(Change((), np.array(sizes), ()))

    def judge(self, q: ArrayLike, masks: NDArray[np.uint8], commanded: ArrayLike | None = None) -> str:
        """Judge a fresh picture and return the state; arguments and errors as `Inspector.judge`."""
        self._frames += 1
        self._in_state += 1
        picture = np.array(q, np.float64), np.array(masks)
        if self.result.state == FITTING:
            self._fit(picture)
            return self.result.state
        alarm = CLASSES[self._inspector.judge(q, masks, commanded)]
        if self.result.state == TRYING:
            self._try(picture)
        elif alarm in REPAIRABLE + OTHERS:
            self._begin(alarm, picture)
        elif self.result.state == ADAPTED:
            self._refine(picture)
        return self.result.state

    def _go(self, result: Adaptation) -> None:
        self.result, self._in_state = result, 0

    def _accept(self, change: Change | None) -> None:
        sizes = change.sizes if change is not None and change.sizes.any() else None
        offsets = None if sizes is None else self._offsets(sizes)
        self._inspector.accept(sizes, offsets)
        self._changed(sizes, offsets)

    @property
    def offsets(self) -> Float:
        """What encoders read too much of commands, as far as that was taken over (J,) rad."""
        change = self.result.change
        return np.zeros(len(self._inspector.config.joints)) if change is None else self._offsets(change.sizes)

    def _offsets(self, sizes: Float) -> Float:
        """An encoder that is off is fitted as a turn of its link, the other way."""
        own = self._inspector.config.own_axis
        return -np.where((own >= 0) & (self._fault == ENCODER), sizes[own], 0.0)

    def _begin(self, alarm: str, picture: Picture) -> None:
        found, self._fault = self._inspector.finding, alarm
        self._go(replace(self.result, state=FITTING, named=found.named, alarm_frame=self._frames, done_frame=None))
        # A link does not grow, but one that was shorter may be whole again.
        may_be = alarm in REPAIRABLE or self.result.change is not None
        if not may_be or found.sign not in FITTED:
            self._keep(self.result.change)
            return
        self._remembered.clear()
        self._first = Pool(self._inspector.config)

    def _keep(self, change: Change | None) -> None:
        """Hold on to a body; to the model's, where no change is left."""
        self._accept(change)
        changed = change is not None and bool(change.sizes.any())
        self._go(replace(self.result, state=ADAPTED if changed else GIVEN_BACK, change=change if changed else None,
                         done_frame=self._frames))
        self._since = Pool(self._inspector.config)
        self._refining, self._pictures, self._next = False, 0, REFINE_FRAMES

    def _fit(self, picture: Picture) -> None:
        """The first pictures are fitted one by one, from afar; then all together, round by round."""
        self._remembered.append(picture)
        if self._in_state <= FIRST_FRAMES:
            self._inspector.judge(*picture)
            information, score, _ = self._inspector.look()
            sizes = sizes_of(self._inspector, self.result.change)
            self._first.add(picture[0], information, score + information @ sizes)
            if self._in_state == FIRST_FRAMES:
                self._rounds.begin(self._first.change(), self._remembered)
            return
        change = self._rounds.go_on(LOOKS)
        if change is not None:
            self._rounds.begin(change, self._remembered)
        if self._in_state < self._fit_frames:
            return
        new = self._rounds.change
        if not _can_hold(new):
            self._keep(self.result.change)
            return
        self._contest = _Contest(self._inspector, new, self.result.change, None)
        self._accept(new)
        self._go(replace(self.result, state=TRYING, change=new))

    def _try(self, picture: Picture) -> None:
        """Compare the new body with the one before and with the model."""
        if not self._contest.show(picture):
            return
        (new, before, _), (tried, misfit, model) = self._contest.bodies, self._contest.misfits
        healthy, spread = self._inspector.healthy_misfit, float(self._inspector.config.misfit_spread.mean())
        self.result = replace(self.result, misfit=misfit, tried=tried)
        if tried < min(misfit, model) and tried - healthy < LEFT * (misfit - healthy) + spread:
            self._keep(new)
        else:
            self._keep(before if misfit < model else None)

    def _refine(self, picture: Picture) -> None:
        """Fit again to what more poses show, and keep it where it makes the next pictures better."""
        if self._refining:
            if self._contest.show(picture):
                self._end_refining()
            return
        sizes = sizes_of(self._inspector, self.result.change)
        information, score, _ = self._inspector.measure(*picture, sizes)
        self._since.add(picture[0], information, score + information @ sizes)
        self._pictures += 1
        if self._pictures == self._next:
            self._next *= 2
            self._refining = True
            self._contest = _Contest(self._inspector, self._since.change(), self.result.change)

    def _end_refining(self) -> None:
        finer, now = self._contest.misfits
        if finer < now and _can_hold(self._contest.bodies[0]):
            self.result = replace(self.result, change=self._contest.bodies[0])
            self._accept(self.result.change)
        self._refining = False
