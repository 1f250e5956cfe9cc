"""A controller that reaches for points with its tip: how far the tip misses where the controller's body is not the
arm's. Numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgekin.robot.damage import link_direction, scenes
from edgekin.robot.events import Event
from edgekin.robot.kinematics import link_poses
from edgekin.robot.spec import Float, RobotSpec
from edgekin.sim.faults import JointFaults

#: Where the tip is, (N, 3) m, for joint angles (N, J) rad.
Tip = Callable[[Float], Float]
#: Steps of Levenberg and Marquardt, their damping (m per rad, squared), the longest (rad), and rad that slopes are
#: taken over.
STEPS, DAMPING, LONGEST, DIFFERENCE = 60, 1e-5, 0.2, 1e-5
#: Share of a joint's range that targets are taken from, about its middle.
INNER = 0.8
#: From what an encoder reads to where the joint is: its error changes slowly with the angle.
ENCODER_STEPS = 20


def tip_of(robot: RobotSpec) -> tuple[int, int]:
    """Return the link and the vertex of it that are the robot's tip: the far end of its last link that can be seen."""
    for joint in reversed(robot.actuated):
        vertices = robot.links[joint.child].vertices
        if len(vertices):
            return joint.child, int(np.argmax(vertices @ link_direction(robot, joint)))
    return len(robot.links) - 1, -1


def tip(robot: RobotSpec, at: tuple[int, int]) -> Tip:
    """Return where a robot's tip is.

    Args:
        robot: healthy, damaged or as it is believed to be.
        at: as `tip_of` has it of the healthy one.
    """
    link, vertex = at
    lost = vertex < 0 or vertex >= len(robot.links[link].vertices)
    point = np.zeros(3) if lost else robot.links[link].vertices[vertex].astype(np.float64)

    def position(q: Float) -> Float:
        poses = link_poses(robot, q)[:, link]
        where: Float = poses[:, :3, :3] @ point + poses[:, :3, 3]
        return where

    return position


def read_tip(robot: RobotSpec, at: tuple[int, int], events: Sequence[Event], seed: int, time_s: float) -> Tip:
    """Return where the tip of an arm to which something has happened is when its encoders read an angle.

    Args:
        robot: healthy.
        at: as `tip_of` has it.
        events: that have happened, none of which takes the tip away.
        seed: of what they leave to chance.
        time_s: when.
    """
    body, faults = tip(scenes(robot, events, seed)[-1][1], at), JointFaults(robot, events, seed)

    def position(q: Float) -> Float:
        true, now = q, np.full(len(q), time_s)
        for _ in range(ENCODER_STEPS):
            true = true + (q - faults.encode(now, true))
        return body(true)

    return position


def reach(believed: Tip, targets: Float, start: Float, limits: Float) -> Float:
    """Return the joint angles (N, J) rad by which a controller reaches for targets.

    Args:
        believed: the tip of the body that the controller has.
        targets: (N, 3) m.
        start: (N, J) rad, where the joints are before.
        limits: (J, 2) rad.
    """
    q, joints = start.copy(), start.shape[1]
    for _ in range(STEPS):
        at = believed(q)
        slopes = np.stack([believed(q + DIFFERENCE * one) - at for one in np.eye(joints)], axis=2) / DIFFERENCE
        square = slopes.transpose(0, 2, 1) @ slopes + DAMPING * np.eye(joints)
        step = np.linalg.solve(square, (slopes.transpose(0, 2, 1) @ (targets - at)[..., None]))[..., 0]
        q = np.clip(q + np.clip(step, -LONGEST, LONGEST), limits[:, 0], limits[:, 1])
    return q


def tip_error_m(believed: Tip, true: Tip, limits: Float, n: int, seed: int) -> float:
    """Return by how much the tip misses on average, m.

    Args:
        believed: the tip by the controller's body.
        true: the tip where the encoders read these angles; targets are points that it can be at.
        limits: (J, 2) rad.
        n: targets.
        seed: of the targets.
    """
    rng = np.random.default_rng(seed)
    middle, half = limits.mean(axis=1), INNER * (limits[:, 1] - limits[:, 0]) / 2
    start = middle + half * rng.uniform(-1, 1, (n, len(limits)))
    targets = true(start)
    return float(np.linalg.norm(true(reach(believed, targets, start, limits)) - targets, axis=1).mean())
