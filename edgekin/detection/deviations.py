"""Which deviations of a robot's body are looked for, and which of them make one hypothesis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekin.robot.damage import link_direction
from edgekin.robot.spec import Float, RobotSpec
from edgekin.runtime.inspector_config import BODY, CAMERA, CAMERA_TURN, STRETCH, TURN, Deviation, Hypothesis

#: What may happen, as standard deviations: rad of a link, share of its length, rad of a camera.
PRIOR = {TURN: np.radians(10.0), STRETCH: 0.15, CAMERA_TURN: np.radians(5.0)}


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


def _frame(axis: Float) -> Float:
    """Return the axis and two across it, as rows."""
    axis = axis / np.linalg.norm(axis)
    first = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    first = first / np.linalg.norm(first)
    return np.stack([axis, first, np.cross(axis, first)])


def suspects_of(robot: RobotSpec) -> Suspects:
    """Return for every actuated joint's link a turn about three axes, the joint's own first, and a stretch; for every
    camera a turn about three axes. A turn about the joint's axis alone is a hypothesis of its own: simpler, it shows
    earlier."""
    deviations: list[Deviation] = []
    hypotheses: list[Hypothesis] = []
    for number, joint in enumerate(robot.actuated):
        first, name = len(deviations), robot.links[joint.child].name
        turns = [Deviation(TURN, joint.child, tuple(map(float, axis))) for axis in _frame(joint.axis)]
        along = link_direction(robot, joint)
        deviations += [*turns, Deviation(STRETCH, joint.child, tuple(map(float, along)))]
        hypotheses += [Hypothesis("bend", name, (first, first + 1, first + 2), BODY, number),
                       Hypothesis("bend", name, (first,), BODY, number),
                       Hypothesis("short", name, (first + 3,), BODY, number)]
    own_axis = tuple(4 * number for number in range(len(robot.actuated)))
    for view in range(len(robot.cameras)):
        first = len(deviations)
        deviations += [Deviation(CAMERA_TURN, view, tuple(map(float, axis))) for axis in np.eye(3)]
        hypotheses.append(Hypothesis("camera-bump", f"camera {view + 1}",
                                     (first, first + 1, first + 2), CAMERA, -1 - view))
    return Suspects(tuple(deviations), tuple(hypotheses), own_axis)
