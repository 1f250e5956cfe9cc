"""Cameras: look-at and intrinsics, and the one that frames whatever a robot can reach. Numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from edgekin.errors import ConfigError
from edgekin.robot.kinematics import link_poses
from edgekin.robot.spec import Camera, Float, RobotSpec

DEFAULT_FOV_DEG = 42.0  # of the published set-up, like the 100 x 100 pixels
DEFAULT_SIZE_PX = 100
#: Where the automatic camera looks from: level with the arm, in front of it, as in the published set-up.
VIEW_DIRECTION = (1.0, 0.0, 0.0)
MARGIN = 1.03  # a little air around what is framed
#: A pose of every 256 may leave the frame a little: framing the outermost of all makes the arm small in every picture.
FRAMED_SHARE = 0.995
MAX_SIZE_PX = 1024  # of the renderer


def focal_px(fov_deg: float, height: int) -> float:
    """Return the focal length in pixels of a vertical field of view: (height / 2) / tan(fov / 2)."""
    return float(height / 2 / np.tan(np.radians(fov_deg) / 2))


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0, 0, 1)) -> Float:
    """Return the (4, 4) world-to-camera transform, OpenCV axes, of an eye that looks at a target; metres.

    Raises:
        ConfigError: eye and target coincide, or the line between them runs along `up`.
    """
    eye, target, up = (np.asarray(v, dtype=np.float64) for v in (eye, target, up))
    forward = target - eye
    right = np.cross(forward, up)
    if np.linalg.norm(forward) < 1e-9 or np.linalg.norm(right) < 1e-9 * np.linalg.norm(forward):
        raise ConfigError(f"camera at {eye.tolist()}, looking at {target.tolist()}, up {up.tolist()}, has no direction",
                          "Move the eye, or choose an `up` across the line of sight")
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    out = np.eye(4)
    out[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    out[:3, 3] = -out[:3, :3] @ eye
    return out


def camera(world_to_cam: Float, fov_deg: float = DEFAULT_FOV_DEG, width: int = DEFAULT_SIZE_PX,
           height: int = DEFAULT_SIZE_PX) -> Camera:
    """Return a camera with square pixels and its axis through the middle of the picture."""
    focal = focal_px(fov_deg, height)
    return Camera(width, height, focal, focal, width / 2, height / 2, world_to_cam)


def _sample_points(spec: RobotSpec, poses: Float, per_link: int = 200) -> list[Float]:
    """Return, for every link with geometry, (N, P, 3) points of it in the world."""
    out = []
    for index, link in enumerate(spec.links):
        if len(link.vertices) == 0:
            continue
        spread = np.unique(np.linspace(0, len(link.vertices) - 1, per_link).astype(int))
        ends = [link.vertices[np.argmin(link.vertices[:, k])] for k in range(3)]
        ends += [link.vertices[np.argmax(link.vertices[:, k])] for k in range(3)]
        points = np.concatenate([link.vertices[spread], np.array(ends)]).astype(np.float64)
        pose = poses[:, index]
        out.append(points @ pose[:, :3, :3].transpose(0, 2, 1) + pose[:, None, :3, 3])
    return out


def framing_camera(spec: RobotSpec, samples: int = 512, seed: int = 0) -> Camera:
    """Return the camera that frames the workspace: poses are drawn over the limits and their geometry fitted.

    The camera looks along -x at the middle of what the links reach in the picture and stands as near as lets nearly
    all of it in; see FRAMED_SHARE.
    """
    limits = spec.limits
    rng = np.random.default_rng(seed)
    q = limits[:, 0] + rng.random((samples, len(limits))) * (limits[:, 1] - limits[:, 0])
    clouds = _sample_points(spec, link_poses(spec, q))
    if not clouds:
        return camera(look_at(VIEW_DIRECTION, (0, 0, 0)))
    points = np.concatenate(clouds, axis=1)
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    target = (low + high) / 2
    forward = -np.asarray(VIEW_DIRECTION)
    relative = points - target
    depth = relative @ forward
    reach = np.maximum(np.abs(relative[..., 1]), np.abs(relative[..., 2]))  # across the line of sight
    # A point is in the picture when reach <= tan(fov / 2) * (distance + depth).
    needed = reach * MARGIN / np.tan(np.radians(DEFAULT_FOV_DEG) / 2) - depth
    distance = float(np.quantile(needed.max(axis=1), FRAMED_SHARE))
    return camera(look_at(target - distance * forward, target))


def check_camera(view: Camera, number: int) -> None:
    """Raise ConfigError for a camera that cannot take pictures."""
    for name, value in (("width", view.width), ("height", view.height)):
        if not 1 <= value <= MAX_SIZE_PX:
            raise ConfigError(f"camera {number} has the {name} {value} px, expected 1 to {MAX_SIZE_PX}",
                              "Choose a smaller picture")
    for name, number_ in (("fx", view.fx), ("fy", view.fy), ("near", view.near)):
        if not (np.isfinite(number_) and number_ > 0):
            raise ConfigError(f"camera {number} has {name} {number_}, expected a positive number", "Correct it")
    rotation = view.world_to_cam[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6) or np.linalg.det(rotation) < 0:
        raise ConfigError(f"camera {number} has a pose that is no rigid transform",
                          "Give a rotation without scale or mirror")


def sees_robot(spec: RobotSpec, view: Camera, samples: int = 64, seed: int = 0) -> bool:
    """Tell whether any of some sampled poses puts a point of the robot into the camera's picture."""
    limits = spec.limits
    q = limits[:, 0] + np.random.default_rng(seed).random((samples, len(limits))) * (limits[:, 1] - limits[:, 0])
    for cloud in _sample_points(spec, link_poses(spec, q), per_link=400):
        points = cloud.reshape(-1, 3) @ view.world_to_cam[:3, :3].T + view.world_to_cam[:3, 3]
        points = points[points[:, 2] > view.near]
        u = view.fx * points[:, 0] / points[:, 2] + view.cx
        v = view.fy * points[:, 1] / points[:, 2] + view.cy
        if np.any((u >= 0) & (u < view.width) & (v >= 0) & (v < view.height)):
            return True
    return False
