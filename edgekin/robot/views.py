"""Many cameras around a robot, and a camera as the numbers that a network takes. Numpy only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekin.errors import ConfigError
from edgekin.robot.kinematics import link_poses
from edgekin.robot.spec import Camera, Float, RobotSpec
from edgekin.robot.transforms import axis_angle, pose

#: Numbers of `camera_code`.
CODE = 16
#: Cameras stand up to this share of the arc above the robot's own.
RISE = 0.4
#: Degrees about each axis by which cameras about a robot's own are moved around it at most, and turned off it.
MOVED_DEG, TURNED_DEG = 12.0, 2.0
#: Steps of the sequence of Martin Roberts' R2 ("The unreasonable effectiveness of quasirandom sequences", 2018): powers
#: of the inverse plastic number. Any number of its points is spread evenly, and the next fall between them.
_R2 = np.array([0.7548776662466927, 0.5698402909980532])
MAX_CAMERAS = 1024


def camera_code(camera: Camera) -> Float:
    """Return what a network is told of a camera: (16,) rotation, translation m, focal lengths, principal point.

    Focal lengths are logarithms of their ratio to the picture's height, the principal point is in widths and heights.
    """
    lens = [np.log(camera.fx / camera.height), np.log(camera.fy / camera.height), camera.cx / camera.width,
            camera.cy / camera.height]
    return np.concatenate([camera.world_to_cam[:3, :3].ravel(), camera.world_to_cam[:3, 3], lens])


def camera_of(code: Float, like: Camera) -> Camera:
    """Return the camera of a code, with the picture size and near plane of another."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.reshape(code[:9], (3, 3)), code[9:12]
    return replace(like, world_to_cam=pose, fx=float(np.exp(code[12])) * like.height,
                   fy=float(np.exp(code[13])) * like.height, cx=float(code[14]) * like.width,
                   cy=float(code[15]) * like.height)


def _orbit(camera: Camera, centre: Float, turn: float, rise: float) -> Camera:
    """The camera moved around a point: by `turn` rad about the world's z, then by `rise` rad above it."""
    world = camera.world_to_cam
    right = world[0, :3]
    moved = pose(rotation=axis_angle((0.0, 0.0, 1.0), turn) @ axis_angle(right, -rise))
    return replace(camera, world_to_cam=world @ np.linalg.inv(pose(centre) @ moved @ pose(-centre)))


def _looked_at(robot: RobotSpec, camera: Camera) -> Float:
    """The point of a camera's optical axis that is nearest to the middle of the robot."""
    q = np.random.default_rng(0).uniform(robot.limits[:, 0], robot.limits[:, 1], (256, len(robot.limits)))
    middle = link_poses(robot, q)[..., :3, 3].reshape(-1, 3).mean(axis=0)
    eye = -camera.world_to_cam[:3, :3].T @ camera.world_to_cam[:3, 3]
    axis = camera.world_to_cam[2, :3]
    point: Float = eye + axis * float((middle - eye) @ axis)
    return point


def cameras_around(robot: RobotSpec, n: int, arc_deg: float, first: int = 0) -> tuple[Camera, ...]:
    """Return cameras that look at a robot from an arc around it, as far away as its own.

    Args:
        robot: its first camera is the middle of the arc; the arc is about the vertical through what that looks at.
        n: how many.
        arc_deg: from the leftmost to the rightmost; they rise up to RISE times that above the robot's own camera.
        first: where in the endless sequence of places to begin: later ones fall between the earlier.

    Raises:
        ConfigError: numbers out of range.
    """
    if not 1 <= n <= MAX_CAMERAS or not 0 < arc_deg <= 360:
        raise ConfigError(f"{n} cameras on an arc of {arc_deg:g} degrees, expected 1 to {MAX_CAMERAS} on 0 to 360",
                          "Choose other numbers")
    camera = robot.cameras[0]
    centre, arc = _looked_at(robot, camera), np.radians(arc_deg)
    places = (0.5 + np.arange(first + 1, first + n + 1)[:, None] * _R2) % 1.0
    return tuple(_orbit(camera, centre, (u - 0.5) * arc, v * RISE * arc) for u, v in places)


def cameras_about(robot: RobotSpec, n: int, seed: int) -> tuple[tuple[Camera, ...], ...]:
    """Return n places for the V cameras of a robot, each about where they stand: a camera that was knocked sees the
    robot from there, and a robot whose first link was bent is seen as from there.

    Args:
        robot: its cameras are moved together around what the first of them looks at, and turned each by itself.
        n: how many places.
        seed: of the motions.
    """
    rng, centre = np.random.default_rng((seed, 3)), _looked_at(robot, robot.cameras[0])

    def turned(most_deg: float) -> Float:
        vector = np.radians(rng.uniform(-most_deg, most_deg, 3))
        angle = float(np.linalg.norm(vector))
        return pose(rotation=axis_angle(vector / max(angle, 1e-12), angle))

    places = []
    for _ in range(n):
        moved = pose(centre) @ turned(MOVED_DEG) @ pose(-centre)
        places.append(tuple(replace(camera, world_to_cam=turned(TURNED_DEG) @ camera.world_to_cam @ moved)
                            for camera in robot.cameras))
    return tuple(places)
