"""After an alarm: what has changed of the body is taken over, tried on fresh pictures, and kept or given back.

What changes is how the inspector and its engine deviate from the self-model; the self-model itself is never written to,
so giving back is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekin.robot.spec import Float, RobotSpec
from edgekin.robot.transforms import axis_angle, pose
from edgekin.runtime.inspector import CLASSES, STRETCH, TURN, Deviation, Inspector, Named

BODY = CLASSES[1]
#: Rounds of an estimate, each from so many pictures around the one before, and pictures that then try it.
ROUNDS, FIT_FRAMES, TRY_FRAMES = 3, 12, 24
#: The tried body must leave this share of the alarm's misfit at most, beyond what healthy pictures have.
LEFT = 0.3
WATCHING, FITTING, TRYING, ADAPTED, GIVEN_BACK = "watching", "fitting", "trying", "adapted", "given back"


@dataclass(frozen=True)
class Adaptation:
    """What became of an alarm."""

    state: str  # WATCHING, FITTING, TRYING, ADAPTED or GIVEN_BACK
    named: Named | None  # what was taken over, or is being fitted
    sizes: Float | None  # (n,) of all deviations, rad or share; None: the model's
    alarm_frame: int | None  # 1 for the first picture
    done_frame: int | None  # when it was adapted or given back
    misfit: float  # mean squared error of the pictures that raised the alarm and fitted
    tried: float  # mean squared error of those that tried the new body


class Adapter:
    """Stands between frames and an inspector.

    Args:
        inspector: of a body model. Its engine predicts the adapted body from then on.
    """

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self.reset()

    def reset(self) -> None:
        """Give everything back: the model, exactly, and no alarm."""
        self._inspector.accept(None)
        self._frames, self._in_state = 0, 0
        self._misfit, self._tried, self._round = 0.0, 0.0, 0
        self.result = Adaptation(WATCHING, None, None, None, None, 0.0, 0.0)

    def judge(self, q: ArrayLike, masks: NDArray[np.uint8], commanded: ArrayLike | None = None) -> str:
        """Judge a fresh picture and return the state; arguments and errors as `Inspector.judge`."""
        alarm = self._inspector.judge(q, masks, commanded)
        self._frames += 1
        self._in_state += 1
        state = self.result.state
        if state == WATCHING and alarm and CLASSES[alarm] == BODY:
            self._go(replace(self.result, state=FITTING, alarm_frame=self._frames))
        elif state == FITTING:
            self._fit()
        elif state == TRYING:
            self._try(alarm)
        return self.result.state

    def _go(self, result: Adaptation) -> None:
        self.result, self._in_state = result, 0

    def _fit(self) -> None:
        if self._round == 0:
            self._misfit += (self._inspector.misfit - self._misfit) / self._in_state
        if self._in_state < FIT_FRAMES:
            return
        named, sizes = self._inspector.finding.named, self._inspector.with_named()
        if self._round == 0 and sizes is None:  # a lost link, a stuck joint: no parameter of the body repairs that
            self._go(replace(self.result, state=GIVEN_BACK, named=named, done_frame=self._frames))
            return
        self._round, result = self._round + 1, self.result
        if sizes is not None:
            self._inspector.accept(sizes)
            result = replace(result, named=result.named or named, sizes=sizes)
        self._go(replace(result, state=TRYING if self._round == ROUNDS else FITTING, misfit=self._misfit))

    def _try(self, alarm: int) -> None:
        self._tried += (self._inspector.misfit - self._tried) / self._in_state
        healthy = self._inspector.healthy_misfit
        if alarm or (self._in_state >= TRY_FRAMES and self._tried - healthy > LEFT * (self._misfit - healthy)):
            result = self.result
            self._inspector.accept(None)
            self._go(replace(result, state=GIVEN_BACK, sizes=None, done_frame=self._frames, tried=self._tried))
        elif self._in_state >= TRY_FRAMES:
            self._go(replace(self.result, state=ADAPTED, done_frame=self._frames, tried=self._tried))


def deviated(robot: RobotSpec, deviations: Sequence[Deviation], sizes: Float) -> RobotSpec:
    """Return the robot's kinematics as deviations leave them, for whoever steers it; what is drawn of it stays.

    Args:
        robot: as modelled.
        deviations: n of them; those of cameras do not move it.
        sizes: (n,) rad or share.
    """
    joints = list(robot.joints)
    for link in {d.of for d in deviations if d.kind in (TURN, STRETCH)}:
        turn, shape = np.eye(4), np.eye(3)
        for deviation, size in zip(deviations, sizes, strict=True):
            axis = np.array(deviation.axis)
            if deviation.of == link and deviation.kind == TURN:
                turn = turn @ pose(rotation=axis_angle(axis, float(size)))
            elif deviation.of == link and deviation.kind == STRETCH:
                shape = shape + float(size) * np.outer(axis, axis)
        for index, joint in enumerate(joints):
            if joint.parent == link:
                origin = joint.origin.copy()
                origin[:3, 3] = shape @ origin[:3, 3]
                joints[index] = replace(joint, origin=turn @ origin)
    return replace(robot, joints=tuple(joints))
