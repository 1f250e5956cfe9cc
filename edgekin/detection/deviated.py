"""The robot as deviations of its body leave it, for whoever steers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgekin.robot.spec import Float, Link, RobotSpec
from edgekin.robot.transforms import axis_angle, pose
from edgekin.runtime.inspector_config import STRETCH, TURN, Deviation


def deviated(robot: RobotSpec, deviations: Sequence[Deviation], sizes: Float) -> RobotSpec:
    """Return the robot with links that turned and stretched; its URDF stays as it was.

    Args:
        robot: as modelled.
        deviations: n of them; those of cameras do not move it.
        sizes: (n,) rad or share.
    """
    joints, links = list(robot.joints), list(robot.links)
    for link in {d.of for d in deviations if d.kind in (TURN, STRETCH)}:
        turn, shape = np.eye(4), np.eye(3)
        for deviation, size in zip(deviations, sizes, strict=True):
            axis = np.array(deviation.axis)
            if deviation.of == link and deviation.kind == TURN:
                turn = turn @ pose(rotation=axis_angle(axis, float(size)))
            elif deviation.of == link and deviation.kind == STRETCH:
                shape = shape + float(size) * np.outer(axis, axis)
        before = links[link]
        vertices = before.vertices @ (turn[:3, :3] @ shape).T
        links[link] = Link(before.name, vertices.astype(np.float32), before.triangles)
        for index, joint in enumerate(joints):
            if joint.parent == link:
                origin = joint.origin.copy()
                origin[:3, 3] = shape @ origin[:3, 3]
                joints[index] = replace(joint, origin=turn @ origin)
    return replace(robot, joints=tuple(joints), links=tuple(links))
