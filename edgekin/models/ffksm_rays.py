"""Where the free-form model looks: the virtual frame, the workspace that arms can fill, and the rays of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgekin.models import body_reference
from edgekin.models.body import CORRECTION
from edgekin.models.field_graph import frame_offsets, ray_table
from edgekin.robot.damage import below
from edgekin.robot.kinematics import link_poses
from edgekin.robot.spec import Float, RobotSpec

#: Joints at the base that move the virtual camera instead of entering the network. Source: Hu et al., the first two.
FRAME_JOINTS = 2
#: Poses that the workspace is measured over, and the air left around it.
POSES, MARGIN = 256, 1.04
#: Points of a link that are looked at for that.
LINK_POINTS = 64


def frame_links(robot: RobotSpec) -> tuple[int, ...]:
    """Return the links whose frames see the body: the root, then those behind the joints of the virtual frame.

    A joint belongs to the virtual frame while it turns and everything that moves hangs on it: then the picture is that
    of a camera which turned the other way round an arm that holds still. From a fork on, joints enter the network.
    """
    links = [0]
    for joint in robot.joints:
        if not joint.actuated:
            continue
        moved = below(robot, links[-1]) - {links[-1]}
        others = any(j.actuated and j is not joint and j.child not in below(robot, joint.child) and j.child in moved
                     for j in robot.joints)
        if others or joint.kind not in ("revolute", "continuous") or len(links) == FRAME_JOINTS + 1:
            break
        links.append(joint.child)
    return tuple(links)


def workspace_radius(robot: RobotSpec, link: int, seed: int = 0) -> float:
    """Return the radius of the sphere about a link's origin that holds the robot at every pose, m.

    Measured over sampled poses on the links' geometry, or on their origins alone where there is none.
    """
    limits = robot.limits
    q = limits[:, 0] + np.random.default_rng(seed).random((POSES, len(limits))) * (limits[:, 1] - limits[:, 0])
    poses = link_poses(robot, q)
    centre = poses[:, link, :3, 3]
    reach, bare = 0.0, 0.0
    for index, part in enumerate(robot.links):
        points: Float = np.zeros((1, 3))
        if len(part.vertices):
            v = part.vertices.astype(np.float64)
            spread = v[np.unique(np.linspace(0, len(v) - 1, LINK_POINTS).astype(int))]
            points = np.concatenate([spread, v[v.argmin(axis=0)], v[v.argmax(axis=0)]])
        pose = poses[:, index]
        world = points @ pose[:, :3, :3].transpose(0, 2, 1) + pose[:, None, :3, 3]
        reach = max(reach, float(np.linalg.norm(world - centre[:, None], axis=2).max()))
        bare = max(bare, float(np.linalg.norm(pose[:, :3, 3] - centre, axis=1).max()))
    has_geometry = any(len(part.vertices) for part in robot.links)
    return MARGIN * max(reach if has_geometry else 1.5 * bare, 1e-3)


@dataclass(frozen=True)
class Rays:
    """Rays in the world: where each begins, and along where it goes."""

    origin: Tensor  # (..., 3) m
    direction: Tensor  # (..., 3) unit length


def pixel_rays(robot: RobotSpec) -> Rays:
    """Return the rays of all pixels, (V * H * W, 3); see field_graph.ray_table."""
    origin, direction, _ = ray_table(robot)
    return Rays(torch.from_numpy(origin), torch.from_numpy(direction))


def chord(rays: Rays, centre: Tensor, radius: float, near: float) -> tuple[Tensor, Tensor]:
    """Return where rays enter and leave a sphere, (...,) m along each; equal where a ray passes by.

    Args:
        rays: (..., 3).
        centre: (..., 3) m, broadcast against the rays.
        radius: m.
        near: m, what is closer to the eye is not seen.
    """
    to = centre - rays.origin
    along = (to * rays.direction).sum(-1)
    half = (radius * radius - (to.square().sum(-1) - along.square())).clamp(min=0).sqrt()
    enter = (along - half).clamp(min=near)
    return enter, torch.maximum(along + half, enter)


class Frames:
    """The virtual frame's kinematics.

    Args:
        robot: the kinematic tree.
        links: of frame_links, or its last alone for the published model.
    """

    def __init__(self, robot: RobotSpec, links: tuple[int, ...]) -> None:
        self.robot, self.links = robot, links
        self.offset = frame_offsets(robot, links)

    def poses(self, q: Tensor) -> Tensor:
        """Return the (B, K, 4, 4) poses of the frames for q (B, J) rad."""
        none = torch.zeros(CORRECTION * len(self.robot.joints), dtype=q.dtype, device=q.device)
        return body_reference.link_poses(self.robot, none, q)[:, list(self.links)]

    def coordinates(self, poses: Tensor, points: Tensor) -> Tensor:
        """Return the points as each frame sees them, about the pivot: (B, K, 4, 4), (B, N, 3) m -> (B, N, 3 K) m."""
        offset = torch.as_tensor(self.offset, dtype=points.dtype, device=points.device)
        parts = [(points - poses[:, None, k, :3, 3]) @ poses[:, k, :3, :3] - offset[k] for k in range(len(self.links))]
        return torch.cat(parts, dim=-1)
