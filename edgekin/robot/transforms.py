"""Rigid transforms as (4, 4) float64 matrices, in the conventions of URDF. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


def rpy_to_rotation(rpy: ArrayLike) -> Float:
    """Return R = Rz(yaw) Ry(pitch) Rx(roll); rpy (3,) rad."""
    roll, pitch, yaw = np.asarray(rpy, dtype=np.float64)
    cr, sr, cp, sp, cy, sy = np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    return np.array([[cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                     [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                     [-sp, cp * sr, cp * cr]])


def rotation_to_rpy(rotation: Float) -> tuple[float, float, float]:
    """Return roll, pitch, yaw (rad) of a rotation matrix (3, 3); yaw is 0 where roll and yaw cannot be told apart."""
    pitch = np.arctan2(-rotation[2, 0], np.hypot(rotation[0, 0], rotation[1, 0]))
    if np.hypot(rotation[0, 0], rotation[1, 0]) > 1e-9:
        roll = np.arctan2(rotation[2, 1], rotation[2, 2])
        yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
    else:
        roll, yaw = np.arctan2(-rotation[1, 2], rotation[1, 1]), 0.0
    return float(roll), float(pitch), float(yaw)


def axis_angle(axis: ArrayLike, angle: float) -> Float:
    """Return the rotation by angle (rad) about a unit axis (3,): R = I + sin [a] + (1 - cos) [a]^2 (Rodrigues)."""
    x, y, z = np.asarray(axis, dtype=np.float64)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: Float = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return rotation


def pose(xyz: ArrayLike = (0, 0, 0), rotation: Float | None = None) -> Float:
    """Return the transform with this translation (3,) m and rotation (3, 3)."""
    out = np.eye(4)
    out[:3, 3] = np.asarray(xyz, dtype=np.float64)
    if rotation is not None:
        out[:3, :3] = rotation
    return out


def quaternion(rotation: Float) -> Sequence[float]:
    """Return the unit quaternion x, y, z, w of a rotation (3, 3), the order that PyBullet takes."""
    m = rotation
    k = np.array([[m[0, 0] - m[1, 1] - m[2, 2], 0, 0, 0],
                  [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], 0, 0],
                  [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], 0],
                  [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]]]) / 3
    # The eigenvector of the largest eigenvalue (Bar-Itzhack 2000): no case distinction, no division.
    vectors = np.linalg.eigh(k)[1]
    return [float(v) for v in vectors[:, -1]]
