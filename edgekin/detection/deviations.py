"""Which deviations of a robot's body are looked for, and which of them make one hypothesis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekin.robot.damage import link_direction
from edgekin.robot.spec import Float, RobotSpec
from edgekin.runtime.inspector_config import BODY, CAMERA, CAMERA_TURN, STRETCH, TURN, Deviation, Hypothesis

#: What may happen, as standard deviations: rad of a link, share of its length, rad of a camera.
PRIOR = {TURN: np.radians(5.0), STRETCH: 0.075, CAMERA_TURN: np.radians(2.5)}

#: A link goes on as its joint's axis does where the cosine of the angle between them is larger.
ALONG = np.sqrt(0.5)


@dataclass(frozen=True)
class Suspects:
    """What a robot's inspector asks about."""

    deviations: tuple[Deviation, ...]
    hypotheses: tuple[Hypothesis, ...]
    own_axis: tuple[int, ...]  # for each actuated joint the deviation about its axis

    @property
    def prior(self) -> Float:
        """(n,) standard deviation of each, rad or share."""
        return np.array([PRIOR[d.kind] for d in self.deviations])


def _frame(axis: Float, along: Float) -> tuple[Float, tuple[tuple[int, ...], ...]]:
    """Return three axes of turns as rows, a joint's own first, and which of them are free together in turns that are
    simpler than any: about the joint's own, across the link, along it.

    The second is across a link that goes on as its joint's axis does, and of others as much along it as may be.
    """
    axis = axis / np.linalg.norm(axis)
    rolls = abs(axis @ along) > ALONG
    towards = np.eye(3)[np.argmin(np.abs(axis))] if rolls else along
    second = towards - (towards @ axis) * axis
    second = second / np.linalg.norm(second)
    return np.stack([axis, second, np.cross(axis, second)]), ((0,), (1, 2)) if rolls else ((0,), (0, 2), (1,))


def suspects_of(robot: RobotSpec) -> Suspects:
    """Return for every actuated joint's link a turn about three axes, the joint's own first, and a stretch; for every
    camera a turn about three axes. Turns about the joint's axis alone, across the link and along it are hypotheses of
    their own: what is simpler shows earlier."""
    deviations: list[Deviation] = []
    hypotheses: list[Hypothesis] = []
    own_axis = []
    for number, joint in enumerate(robot.actuated):
        first, name = len(deviations), robot.links[joint.child].name
        along = link_direction(robot, joint)
        axes, simple = _frame(joint.axis, along)
        own_axis.append(first)
        deviations += [*(Deviation(TURN, joint.child, tuple(map(float, axis))) for axis in axes),
                       Deviation(STRETCH, joint.child, tuple(map(float, along)))]
        hypotheses += [Hypothesis("bend", name, tuple(first + i for i in turns), BODY, number)
                       for turns in ((0, 1, 2), *simple)]
        hypotheses.append(Hypothesis("short", name, (first + 3,), BODY, number))
    for view in range(len(robot.cameras)):
        first = len(deviations)
        deviations += [Deviation(CAMERA_TURN, view, tuple(map(float, axis))) for axis in np.eye(3)]
        hypotheses.append(Hypothesis("camera-bump", f"camera {view + 1}",
                                     (first, first + 1, first + 2), CAMERA, -1 - view))
    return Suspects(tuple(deviations), tuple(hypotheses), tuple(own_axis))
