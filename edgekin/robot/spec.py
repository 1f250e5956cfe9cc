"""The robot as everything downstream sees it: joints, links, visual triangles and cameras. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Joint:
    """A joint of the kinematic tree; `actuated` ones are the coordinates of the self-model, in tree order."""

    name: str
    kind: str  # revolute | continuous | prismatic | fixed
    parent: int  # index of the parent link
    child: int  # index of the child link
    origin: Float  # (4, 4) parent link -> joint frame at q = 0
    axis: Float  # (3,) unit, in the joint frame
    lower: float  # rad (m for prismatic)
    upper: float  # rad (m for prismatic)
    actuated: bool  # False: held at `rest`
    rest: float  # rad (m), its value when not actuated


@dataclass(frozen=True)
class Link:
    """A rigid body and its visual geometry, in the link frame."""

    name: str
    vertices: NDArray[np.float32]  # (V, 3) m
    triangles: NDArray[np.int32]  # (T, 3) indices into vertices, counter-clockwise seen from outside


@dataclass(frozen=True)
class Camera:
    """Pinhole camera, OpenCV axes (x right, y down, z forward)."""

    width: int  # px
    height: int  # px
    fx: float  # px
    fy: float  # px
    cx: float  # px
    cy: float  # px
    world_to_cam: Float  # (4, 4), metres
    near: float = 0.01  # m


@dataclass(frozen=True)
class RobotSpec:
    """A robot and the cameras that watch it."""

    name: str
    urdf: str  # the URDF's text after damage and resolution, what `sha256` hashes
    path: str  # where it came from (file path, or "builtin:arm4")
    links: tuple[Link, ...]  # links[0] is the root
    joints: tuple[Joint, ...]  # in tree order: a joint's parent link comes before its child
    base: Float  # (4, 4) world pose of the root link
    cameras: tuple[Camera, ...]
    convention: str = "center"  # center | tinyrenderer (pixel sampling, see docs/formats.md)

    @property
    def actuated(self) -> tuple[Joint, ...]:
        """The joints that the self-model takes as input, in order."""
        return tuple(j for j in self.joints if j.actuated)

    @property
    def limits(self) -> Float:
        """(J, 2) lower and upper limits of the actuated joints, rad."""
        return np.array([(j.lower, j.upper) for j in self.actuated], dtype=np.float64).reshape(-1, 2)
