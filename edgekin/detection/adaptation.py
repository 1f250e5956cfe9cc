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
#: Frames after which an adapted body is fitted to all poses since, and how often each time; poses that are remembered.
REFINE_FRAMES, REFINE_ROUNDS, POSES = (60, 180, 600), 3, 64
WATCHING, FITTING, TRYING, ADAPTED, GIVEN_BACK = "watching", "fitting", "trying", "adapted", "given back"

Picture = tuple[Float, NDArray[np.uint8]]


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
        self.change, self._left, self._total, self._count = change, list(pictures), 0.0, len(pictures)
        self._pool.clear()

    def go_on(self, looks: int) -> Change | None:
        """Measure so many pictures more; the change that the round found, when it is over."""
        sizes = self.change.sizes
        for q, masks in self._left[:looks]:
            information, score, misfit = self._inspector.measure(q, masks, sizes)
            self._pool.add(q, information, score + information @ sizes)
            self._total += misfit
        del self._left[:looks]
        return None if self._left else self._pool.change()

    @property
    def misfit(self) -> float:
        """Mean squared error of the pictures of a round by the body that it began with."""
        return self._total / max(self._count, 1)


class Adapter:
    """Stands between frames and an inspector.

    Args:
        inspector: of a body model. Its engine predicts the adapted body from then on.
        changed: called with the sizes (n,) that hold from now on, or with None: the model's.
        fit_frames: pictures from the alarm that a change is fitted to.
    """

    def __init__(self, inspector: Inspector, changed: Callable[[Float | None], None] = lambda sizes: None,
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

    def judge(self, q: ArrayLike, masks: NDArray[np.uint8], commanded: ArrayLike | None = None) -> str:
        """Judge a fresh picture and return the state; arguments and errors as `Inspector.judge`."""
        self._frames += 1
        self._in_state += 1
        picture = np.array(q, np.float64), np.array(masks)
        if self.result.state == FITTING:
            self._fit(picture)
            return self.result.state
        alarm = CLASSES[self._inspector.judge(q, masks, self._explained(commanded))]
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
        sizes = self._sizes(change) if change is not None and change.hypotheses else None
        self._inspector.accept(sizes)
        self._changed(sizes)

    def _sizes(self, change: Change | None) -> Float:
        return np.zeros(len(self._inspector.config.deviations)) if change is None else change.sizes

    def _explained(self, commanded: ArrayLike | None) -> ArrayLike | None:
        """Commands as an encoder that is known to be off reads them."""
        if commanded is None or self.result.change is None or self._fault != ENCODER:
            return commanded
        own = self._inspector.config.own_axis
        return np.asarray(commanded) - np.where(own >= 0, self.result.change.sizes[own], 0.0)

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
        changed = change is not None and bool(change.hypotheses)
        self._go(replace(self.result, state=ADAPTED if changed else GIVEN_BACK, change=change if changed else None,
                         done_frame=self._frames))
        self._refining = 0

    def _fit(self, picture: Picture) -> None:
        """The first pictures are fitted one by one, from afar; then all together, round by round."""
        self._remembered.append(picture)
        if self._in_state <= FIRST_FRAMES:
            self._inspector.judge(*picture)
            information, score, _ = self._inspector.look()
            self._first.add(picture[0], information, score + information @ self._sizes(self.result.change))
            if self._in_state == FIRST_FRAMES:
                self._rounds.begin(self._first.change(), self._remembered)
            return
        change = self._rounds.go_on(LOOKS)
        if change is not None:
            self._rounds.begin(change, self._remembered)
        if self._in_state < self._fit_frames:
            return
        self._before, self._trial, self._misfits = self.result.change, self._rounds.change, np.zeros(3)
        self._accept(self._trial)
        self._go(replace(self.result, state=TRYING, change=self._trial))

    def _try(self, picture: Picture) -> None:
        """Compare the new body with the one before and with the model, on pictures that nothing was fitted to."""
        self._misfits += [self._inspector.measure(*picture, self._sizes(body))[2] for body in self._bodies]
        if self._in_state < TRY_FRAMES:
            return
        new, before, model = self._misfits / TRY_FRAMES
        healthy, spread = self._inspector.healthy_misfit, float(self._inspector.config.misfit_spread.mean())
        self.result = replace(self.result, misfit=before, tried=new)
        if new < min(before, model) and new - healthy < LEFT * (before - healthy) + spread:
            self._keep(self._trial)
        else:
            self._keep(self._before if before < model else None)

    @property
    def _bodies(self) -> tuple[Change | None, ...]:
        return self._trial, self._before, None

    def _refine(self, picture: Picture) -> None:
        """Fit again to what more poses show, and keep it where it makes them better."""
        moved = np.abs(picture[0] - self._remembered[-1][0]).max()
        if moved >= self._inspector.config.cell_rad:
            self._remembered = [*self._remembered[1 - POSES:], picture]
        assert self.result.change is not None
        if self._in_state in REFINE_FRAMES:
            self._refining, self._tried_pictures, self._best = 1, list(self._remembered), np.inf
            self._rounds.begin(self.result.change, self._tried_pictures)
        if not self._refining:
            return
        following = self._rounds.go_on(LOOKS)
        if following is None:
            return
        better = self._rounds.misfit < self._best
        if better:
            self._best, self._better = self._rounds.misfit, self._rounds.change
        if better and self._refining <= REFINE_ROUNDS:
            self._refining += 1
            self._rounds.begin(following, self._tried_pictures)
            return
        self._refining = 0
        if self._better is not self.result.change:
            self._accept(self._better)
            self.result = replace(self.result, change=self._better)
