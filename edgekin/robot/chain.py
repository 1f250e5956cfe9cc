"""What pictures can tell of a kinematic chain, and how far two chains are apart in it. Numpy only.

Silhouettes and joint angles fix every joint's axis as a line in the world at q = 0 (its screw: a direction and where it
runs, four numbers), and nothing else of the chain: where a joint's frame sits along and about its own axis only moves
what is attached to it in the file, not in the picture. A single camera leaves one more number open: the whole robot
drawn larger and further away looks the same. Source: Brockett 1984, product of exponentials.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from edgekin.errors import RobotError
from edgekin.robot.kinematics import link_poses
from edgekin.robot.spec import Float, RobotSpec
from edgekin.robot.transforms import axis_angle, pose

TURNING = ("revolute", "continuous")
#: Of a correction, rad: 2 tan(angle / 2) grows beyond all bounds at a half turn.
MOST_TURN = math.radians(179.0)


@dataclass(frozen=True)
class Axes:
    """The actuated joints' axes at q = 0, as lines in the world."""

    directions: Float  # (J, 3) unit
    points: Float  # (J, 3) m: the joints' origins


@dataclass(frozen=True)
class ChainError:
    """How far a chain is from the true one, in what can be told."""

    angle_deg: Float  # (J,) between the axes
    distance_m: Float  # (J,) from the true joint's origin to the other axis
    scale: float  # of the found robot about the camera, taken out before; 1 where several cameras see it
    reach_m: float  # mean distance between the last joint's places in both, over poses

    @property
    def worst(self) -> tuple[float, float]:
        """The largest angle, deg, and distance, m."""
        return float(self.angle_deg.max()), float(self.distance_m.max())


def correction(p: ArrayLike) -> Float:
    """Return the (4, 4) of 2 tan(angle / 2) times an axis (3) and a shift (3) m, as body models learn them."""
    values = np.asarray(p, dtype=np.float64)
    length = float(np.linalg.norm(values[:3]))
    turn = axis_angle(values[:3] / length, 2 * np.arctan(length / 2)) if length > 0 else np.eye(3)
    return pose(values[3:6], turn)


def corrected(spec: RobotSpec, corrections: ArrayLike) -> RobotSpec:
    """Return the robot with a correction behind every joint's origin; its URDF's text stays as it was.

    Args:
        spec: the robot.
        corrections: (joints, 6), see `correction`.
    """
    rows = np.asarray(corrections, dtype=np.float64).reshape(len(spec.joints), 6)
    moved = (replace(j, origin=j.origin @ correction(row)) for j, row in zip(spec.joints, rows, strict=True))
    return replace(spec, joints=tuple(moved))


def corrections_to(spec: RobotSpec, other: RobotSpec) -> Float:
    """Return the corrections (joints, 6) that make a robot's chain another's; the inverse of `corrected`."""
    rows = np.zeros((len(spec.joints), 6))
    for row, ours, theirs in zip(rows, spec.joints, other.joints, strict=True):
        change = np.linalg.inv(ours.origin) @ theirs.origin
        row[:3], row[3:] = _turn_of(change[:3, :3]), change[:3, 3]
    return rows


def _turn_of(rotation: Float) -> Float:
    """2 tan(angle / 2) times the axis of a rotation; of a half turn, which has none, that of a little less."""
    values, vectors = np.linalg.eigh((rotation + rotation.T) / 2)
    axis = vectors[:, int(np.argmax(values))]  # of the symmetric part: well defined up to half turns
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    angle = math.atan2(float(skew @ axis), float(np.trace(rotation)) - 1)
    return 2 * math.tan(float(np.clip(angle, -MOST_TURN, MOST_TURN)) / 2) * axis


def placed(spec: RobotSpec, axes: Axes) -> RobotSpec:
    """Return the robot with its actuated joints on other lines at q = 0, its links turned as little as that takes.

    Args:
        spec: the robot, with any chain; every joint keeps its place in the tree, and its axis in its own frame.
        axes: of the actuated joints, in the world; joint origins come to lie in their points.
    """
    frames, joints, lines = {0: spec.base}, [], iter(zip(axes.directions, axes.points, strict=True))
    for joint in spec.joints:
        if joint.actuated:
            direction, point = next(lines)
            as_is = (frames[joint.parent] @ joint.origin)[:3, :3]
            there = pose(point, _least_turn(as_is @ joint.axis, direction) @ as_is)
            joint = replace(joint, origin=np.linalg.inv(frames[joint.parent]) @ there)
        frames[joint.child] = frames[joint.parent] @ joint.origin
        joints.append(joint)
    return replace(spec, joints=tuple(joints))


def _least_turn(of: Float, to: Float) -> Float:
    """The smallest rotation (3, 3) that brings one unit vector to another."""
    across, along = np.cross(of, to), float(of @ to)
    length = float(np.linalg.norm(across))
    if length > 1e-9:
        return axis_angle(across / length, math.atan2(length, along))
    if along > 0:
        return np.eye(3)
    square = np.cross(of, np.eye(3)[int(np.abs(of).argmin())])
    return axis_angle(square / np.linalg.norm(square), math.pi)


def perturbed(spec: RobotSpec, angle_rad: float, shift_m: float, seed: int) -> RobotSpec:
    """Return the robot with every actuated joint's origin turned and shifted by so much, in directions at random."""
    rng, joints = np.random.default_rng(seed), []
    for joint in spec.joints:
        if joint.actuated:
            axis, way = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
            joint = replace(joint, origin=joint.origin @ pose(shift_m * way, axis_angle(axis, angle_rad)))
        joints.append(joint)
    return replace(spec, joints=tuple(joints))


def axes_at_rest(spec: RobotSpec) -> Axes:
    """Return the axes of the actuated joints at q = 0.

    Raises:
        RobotError: one of them does not turn.
    """
    if any(joint.kind not in TURNING for joint in spec.actuated):
        raise RobotError(f"{spec.name} has actuated joints that do not turn", "Compare chains of revolute joints")
    places = link_poses(spec, np.zeros(len(spec.actuated)))[0]
    directions = [places[j.child][:3, :3] @ j.axis for j in spec.actuated]
    return Axes(np.array(directions), np.array([places[j.child][:3, 3] for j in spec.actuated]))


def camera_centre(spec: RobotSpec, view: int = 0) -> Float:
    """Return where a camera is in the world, (3,) m."""
    seen = spec.cameras[view].world_to_cam
    centre: Float = -seen[:3, :3].T @ seen[:3, 3]
    return centre


def _distances(true: Axes, found: Axes) -> Float:
    gap = true.points - found.points
    along = np.sum(gap * found.directions, axis=1, keepdims=True) * found.directions
    distances: Float = np.linalg.norm(gap - along, axis=1)
    return distances


def _scaled(axes: Axes, centre: Float, scale: float) -> Axes:
    return Axes(axes.directions, centre + scale * (axes.points - centre))


def _best_scale(true: Axes, found: Axes, centre: Float, rounds: int = 30) -> float:
    """The scale about the centre that brings the found axes nearest to the true origins, by the sum of distances.

    Least squares with weights of one by distance: an axis that pictures do not tell, like that of a round flange, is
    anywhere and must not move the others.
    """
    def across(v: Float) -> Float:
        out: Float = v - np.sum(v * found.directions, axis=1, keepdims=True) * found.directions
        return out

    a, b, weight = across(found.points - centre), across(true.points - centre), np.ones((len(found.points), 1))
    for _ in range(rounds):
        scale = float(np.sum(weight * a * b) / np.sum(weight * a * a))
        weight = 1 / np.maximum(np.linalg.norm(b - scale * a, axis=1, keepdims=True), 1e-6)
    return scale


def _moved(axes: Axes, q: Float, point: Float) -> Float:
    """Where a point of the last link goes from q = 0."""
    for direction, origin, angle in zip(axes.directions[::-1], axes.points[::-1], q[::-1], strict=True):
        point = origin + axis_angle(direction, float(angle)) @ (point - origin)
    return point


def chain_error(true: RobotSpec, found: RobotSpec, poses: int = 200) -> ChainError:
    """Return how far a chain is from the true one, without what pictures cannot tell.

    The joints must follow one another: `reach_m` carries the last joint's origin by all of them.

    Args:
        true: the robot that the pictures show.
        found: the same robot as it was learned.
        poses: random ones within the limits, for `reach_m`.
    """
    truth, other, scale = axes_at_rest(true), axes_at_rest(found), 1.0
    if len(true.cameras) == 1:
        scale = _best_scale(truth, other, camera_centre(true))
        other = _scaled(other, camera_centre(true), scale)
    cross = np.linalg.norm(np.cross(truth.directions, other.directions), axis=1)
    angle = np.degrees(np.arctan2(cross, np.sum(truth.directions * other.directions, axis=1)))
    limits = true.limits
    tip, drawn = truth.points[-1], np.random.default_rng(0).uniform(limits[:, 0], limits[:, 1], (poses, len(limits)))
    reach = [np.linalg.norm(_moved(truth, q, tip) - _moved(other, q, tip)) for q in drawn]
    return ChainError(angle, _distances(truth, other), scale, float(np.mean(reach)))
