"""A robot seen from about where its own cameras stand, some of its links taken off: what teaches a body model shapes
instead of pixels, and what lies beneath."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import RobotError
from edgekin.robot.damage import apply_damage
from edgekin.robot.events import parse_events
from edgekin.robot.spec import Camera, RobotSpec
from edgekin.robot.views import cameras_about
from edgekin.sim.excitation import sobol
from edgekin.sim.renderer import Renderer

#: Places that the cameras stand in; of so many one sees the robot without a link, and all beyond.
PLACES, WHOLE = 48, 3


@dataclass(frozen=True)
class PicturesAbout:
    """N samples of a robot with J joints, each seen by its V cameras from one of C places."""

    cameras: tuple[tuple[Camera, ...], ...]  # C of V
    lost: tuple[int, ...]  # C: the link that is not there, with all beyond; 0: all are
    joint_pos: NDArray[np.float64]  # (C, N / C, J) rad
    packed: NDArray[np.uint8]  # (C, N / C, V, H, ceil(W / 8)) numpy.packbits along x

    def draw(self, count: int, rng: np.random.Generator) -> tuple[int, NDArray[np.float64], NDArray[np.uint8]]:
        """Return so many samples of one place: its number, (count, J) rad, (count, V, H, bytes)."""
        place = int(rng.integers(len(self.cameras)))
        rows = rng.integers(self.joint_pos.shape[1], size=count)
        return place, self.joint_pos[place, rows], self.packed[place, rows]


def pictures_about(spec: RobotSpec, n: int, seed: int) -> PicturesAbout:
    """Render scrambled-Sobol poses over the full limits, each from one of PLACES places.

    Args:
        spec: the robot.
        n: samples, rounded up to as many of each place.
        seed: of poses and places.
    """
    places, each = cameras_about(spec, PLACES, seed), -(-n // PLACES)
    robots, links = zip(*(_robot_at(spec, place) for place in range(PLACES)), strict=True)
    q = sobol(PLACES * each, spec.limits, seed).reshape(each, PLACES, -1).transpose(1, 0, 2)
    packed = []
    for robot, cameras, poses in zip(robots, places, q, strict=True):
        with Renderer(replace(robot, cameras=cameras)) as renderer:
            packed.append(renderer.masks(np.ascontiguousarray(poses)))
    return PicturesAbout(places, links, q, np.stack(packed))


def _robot_at(spec: RobotSpec, place: int) -> tuple[RobotSpec, int]:
    """The robot that stands at a place, and the link that it has lost there; 0: none."""
    if place % WHOLE:
        return spec, 0
    joint = place // WHOLE % len(spec.actuated)
    try:
        return apply_damage(spec, parse_events(f"lost:{joint + 1}")[0]), spec.actuated[joint].child
    except RobotError:  # nothing would be left to see
        return spec, 0
