"""A trained free-form model as plain numbers: network, virtual frame and workspace. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.models.robot_pictures import RobotPictures
from edgekin.robot.kinematics import link_poses
from edgekin.robot.spec import Float, RobotSpec

#: Samples on a ray. Source: Hu et al.
SAMPLES = 64
#: No sample is more opaque: keeps the logarithm of its transmittance finite.
MOST = 1.0 - 1e-6
#: Probability of a pixel that no ray fills.
EMPTY = 1e-4
#: No picture is darker, nats: log-odds beyond buy nothing.
DARKEST = 12.0


@dataclass(frozen=True)
class FieldShape:
    """What a field is made of."""

    coordinates: int  # 3 for every frame that sees the point
    joints: int  # that enter the network; 0 where all belong to the virtual frame
    width: int = 128
    point_bands: int = 5  # frequencies of the positional encoding
    joint_bands: int = 5
    soft: bool = True  # density by softplus; False: by ReLU, as published
    first_density: float = -6.0  # bias of its output: nearly empty at first

    @property
    def point_macs(self) -> int:
        """Multiply-accumulates of the network at one point, the pose's part aside."""
        width = self.width
        inputs = self.coordinates * (1 + 2 * self.point_bands)
        return inputs * width + 2 * width * width + width * (width // 4) + 2 * (width // 4)

    @property
    def pose_macs(self) -> int:
        """Multiply-accumulates of the pose's part."""
        return max(self.joints, 1) * (1 + 2 * self.joint_bands) * self.width + 2 * self.width * self.width


@dataclass(frozen=True)
class FieldGraph(RobotPictures):
    """Density and visibility in space by a network: joints (J,) rad -> logits (V, H, W) by marching rays."""

    shape: FieldShape
    frames: tuple[int, ...]  # the links whose frames see a point
    radius: float  # m, of the workspace about the last frame's origin
    weights: Mapping[str, NDArray[np.float32]]  # the torch module's, by name

    def count(self) -> tuple[int, int]:
        """Return (parameters, multiply-accumulates of a frame marched plainly, if all rays meet the workspace)."""
        points = SAMPLES * self.n_views * self.height * self.width
        return sum(w.size for w in self.weights.values()), self.shape.pose_macs + points * self.shape.point_macs


def ray_table(robot: RobotSpec) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Return the rays of all pixels where the renderer's convention samples them, and the nearest they are seen from.

    Returns:
        Origins (V * H * W, 3) m, directions (V * H * W, 3) of unit length, and m.
    """
    at = (0.0, 1.0) if robot.convention == "tinyrenderer" else (0.5, 0.5)
    origins, directions = [], []
    for camera in robot.cameras:
        v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float64)
        seen = np.stack([(u + at[0] - camera.cx) / camera.fx, (v + at[1] - camera.cy) / camera.fy, np.ones_like(u)], -1)
        turn = camera.world_to_cam[:3, :3]
        world = seen.reshape(-1, 3) @ turn
        directions.append(world / np.linalg.norm(world, axis=1, keepdims=True))
        origins.append(np.broadcast_to(-turn.T @ camera.world_to_cam[:3, 3], world.shape))
    near = min(camera.near for camera in robot.cameras)
    return np.concatenate(origins).astype(np.float32), np.concatenate(directions).astype(np.float32), near


def frame_offsets(robot: RobotSpec, frames: tuple[int, ...]) -> Float:
    """Return where every frame sees the last one's origin, the pivot, at rest: (K, 3) m. Coordinates are about it."""
    limits = robot.limits
    rest = link_poses(robot, np.clip(np.zeros(len(limits)), limits[:, 0], limits[:, 1]))[0]
    pivot = rest[frames[-1], :3, 3]
    return np.stack([(np.linalg.inv(rest[link]) @ [*pivot, 1.0])[:3] for link in frames])
