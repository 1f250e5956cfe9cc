"""After an alarm: what has changed of the body is fitted, tried on fresh pictures, and kept or given back.

What changes is how the inspector and its engine deviate from the self-model; the self-model itself is never written to,
so giving back is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekin.detection.pool import LOST, Change, Pool
from edgekin.robot.spec import Float
from edgekin.runtime.changed import FARTHEST, WORST, ChangedBody
from edgekin.runtime.findings import Named
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.inspector_config import CLASSES

#: Alarms that parameters may repair, and the signs of them that are one; the others are given back at once.
BODY, ENCODER, CAMERA = CLASSES[1:4]
REPAIRABLE = (BODY, ENCODER, CAMERA)
OTHERS = ("occlusion/appearance",)
FITTED, UNEXPLAINED = ("deviation", "offset"), "unexplained"
#: Pictures that give the first estimate, that all is fitted to, and that then try it.
FIRST_FRAMES, FIT_FRAMES, TRY_FRAMES = 8, 38, 20
#: Remembered pictures that are measured again with every fresh one: what a tick has time for.
LOOKS = 8
#: The tried body must leave this share of the misfit at most, beyond what healthy pictures have and a standard
#: deviation of that.
LEFT = 0.3
#: An adapted body is fitted again to all pictures since the first so many, and each time that their number has doubled.
REFINE_FRAMES = 60
#: Times as high a misfit is usual of an adapted body by which an alarm was raised that no better body came of.
DOUBT = 4.0
WATCHING, FITTING, TRYING, ADAPTED, GIVEN_BACK = "watching", "fitting", "trying", "adapted", "given back"

Picture = tuple[Float, NDArray[np.uint8]]
Changed = Callable[[ChangedBody | None], None]


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
        for picture in self._left[:looks]:
            _add(self._pool, self._inspector, picture, self.change)
        del self._left[:looks]
        return None if self._left else self._pool.change().on_top_of(self.change)


class _Contest:
    """Bodies compared on pictures that nothing was fitted to.

    Args:
        inspector: that measures.
        bodies: changes of each, or None: the model.
    """

    def __init__(self, inspector: Inspector, *bodies: Change | None) -> None:
        self.bodies = bodies
        self._inspector, self._sum, self._usual, self._pictures = inspector, np.zeros(len(bodies)), np.zeros(2), 0

    def show(self, picture: Picture) -> bool:
        """Show a picture; whether that is enough."""
        self._sum += [self._inspector.measure(*picture, _body(self._inspector, one))[2] for one in self.bodies]
        self._usual += self._inspector.usual(picture[0])
        self._pictures += 1
        return self._pictures >= TRY_FRAMES

    @property
    def usual(self) -> tuple[float, float]:
        """Mean and standard deviation of what the model has of the healthy arm in these poses."""
        misfit, spread = self._usual / max(self._pictures, 1)
        return float(misfit), float(spread)

    @property
    def first(self) -> Change:
        """The first body, with what these pictures say of its misfit."""
        assert self.bodies[0] is not None
        worse = self.misfits[0] / max(self.usual[0], 1e-9)
        return replace(self.bodies[0], worse=float(np.clip(worse, 1.0, WORST)))

    @property
    def misfits(self) -> list[float]:
        """Mean squared error of each."""
        return [float(one) for one in self._sum / max(self._pictures, 1)]


def sizes_of(inspector: Inspector, change: Change | None) -> Float:
    """Return the sizes (n,) of a change, rad or share; None: the model."""
    return np.zeros(len(inspector.config.deviations)) if change is None else change.sizes


def _body(inspector: Inspector, change: Change | None, offsets: Float | None = None) -> ChangedBody:
    """A change, or the model (None), as an inspector takes it."""
    offsets = np.zeros(len(inspector.config.joints)) if offsets is None else offsets
    if change is None:
        return ChangedBody(sizes_of(inspector, None), offsets)
    return ChangedBody(change.sizes, offsets, change.worse, change.lost)


def _add(pool: Pool, inspector: Inspector, picture: Picture, change: Change | None) -> None:
    """Add what a picture says around a body to a pool."""
    sizes = sizes_of(inspector, change)
    information, score, _ = inspector.measure(*picture, _body(inspector, change))
    pool.add(picture[0], information, score + information @ sizes)


def _can_hold(change: Change | None) -> bool:
    return change is None or bool((np.abs(change.sizes) <= FARTHEST).all())


class Adapter:
    """Stands between frames and an inspector.

    Args:
        inspector: of a body model. Its engine predicts the adapted body from then on.
        changed: called with the body that holds from now on; None: the model.
        fit_frames: pictures from the alarm that a change is fitted to.
    """

    def __init__(self, inspector: Inspector, changed: Changed = lambda body: None,
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

    def begin_with(self, body: ChangedBody) -> None:
        """Begin with a body that was adapted before."""
        self._fault = ENCODER if body.offsets.any() else ""
        self._keep(Change((), np.array(body.sizes), (), body.lost, body.worse))

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
            self._begin(alarm)
        elif self.result.change is not None and self.result.change.sizes.any():
            self._refine(picture)
        return self.result.state

    def _go(self, result: Adaptation) -> None:
        self.result, self._in_state = result, 0

    def _accept(self, change: Change | None) -> None:
        body = _body(self._inspector, change, self._offsets(change.sizes)) if change else None
        self._inspector.accept(body)
        self._changed(body)

    @property
    def offsets(self) -> Float:
        """What encoders read too much of commands, as far as that was taken over (J,) rad."""
        change = self.result.change
        return np.zeros(len(self._inspector.config.joints)) if change is None else self._offsets(change.sizes)

    def _offsets(self, sizes: Float) -> Float:
        """An encoder that is off is fitted as a turn of its link, the other way."""
        own = self._inspector.config.own_axis
        return -np.where((own >= 0) & (self._fault == ENCODER), sizes[own], 0.0)

    def _begin(self, alarm: str) -> None:
        found = self._inspector.finding
        self._go(replace(self.result, state=FITTING, named=found.named, alarm_frame=self._frames, done_frame=None))
        before = self.result.change
        if found.sign == LOST:
            link = self._inspector.config.links.index(found.named.part)
            self._begin_trying((before or self._unchanged()).without(link, found.named))
        elif before and before.lost and found.sign == UNEXPLAINED:  # is it there again?
            self._begin_trying(before)
        elif found.sign in FITTED and (alarm in REPAIRABLE or before):
            # A link does not grow, but one that was shorter may be whole again.
            self._begin_fitting(alarm)
        else:
            self._keep(before)

    def _unchanged(self) -> Change:
        return Change((), np.zeros(len(self._inspector.config.deviations)), ())

    def _begin_fitting(self, alarm: str) -> None:
        self._fault = alarm
        self._remembered.clear()
        self._first = Pool(self._inspector.config)

    def _keep(self, change: Change | None) -> None:
        """Hold on to a body; to the model's, where no change is left."""
        self._accept(change)
        self._go(replace(self.result, state=ADAPTED if change else GIVEN_BACK, change=change or None,
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
                self._rounds.begin(self._first.change().on_top_of(self.result.change), self._remembered)
            return
        change = self._rounds.go_on(LOOKS)
        if change is not None:
            self._rounds.begin(change, self._remembered)
        if self._in_state < self._fit_frames:
            return
        self._begin_trying(self._rounds.change)

    def _begin_trying(self, new: Change) -> None:
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
        healthy, spread = self._contest.usual
        self.result = replace(self.result, misfit=misfit, tried=tried)
        if tried < min(misfit, model) and tried - healthy < LEFT * (misfit - healthy) + spread:
            self._keep(self._contest.first)
        elif before and misfit < model:
            # What raised the alarm is nothing that a body makes: it would again.
            self._keep(before if new is before else replace(before, worse=min(DOUBT * before.worse, WORST)))
        else:
            self._keep(None)

    def _refine(self, picture: Picture) -> None:
        """Fit again to what more poses show, and keep it where it makes the next pictures better."""
        if self._refining:
            if self._contest.show(picture):
                self._end_refining()
            return
        _add(self._since, self._inspector, picture, self.result.change)
        self._pictures += 1
        if self._pictures == self._next:
            self._next *= 2
            self._refining = True
            self._contest = _Contest(self._inspector, self._since.change().on_top_of(self.result.change),
                                     self.result.change)

    def _end_refining(self) -> None:
        finer, now = self._contest.misfits
        if finer < now and _can_hold(self._contest.bodies[0]):
            self.result = replace(self.result, change=self._contest.first)
            self._accept(self.result.change)
        self._refining = False
