"""A body model in fixed point: the constants that engines/mcu/body*.h and its reference in numpy compute with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu.body_file import F64, BodyNumbers, FileCamera, FileJoint, rotation
from edgekin.compile.mcu.reference import UNITS_PER_RAD
from edgekin.errors import ConfigError
from edgekin.robot.transforms import axis_angle

I64 = NDArray[np.int64]
#: Below this opacity an ellipsoid is not drawn (EK_SPLAT_FAINT); from the middle of an edge to its end (EK_SPLAT_EDGE).
FAINT, EDGE = 1e-3, 3.0
#: The fade's rise is bounded by what keeps its differences in range: inside it begins at 4 times that below 0 in 2^-22.
STEEPEST = 255.0
LIGHT, STEPS = 254, 64  # of all that comes through; EK_STEPS
#: Shapes are px^2 in 2^-14 where focal lengths allow it.
SHAPE_BITS = 14
#: What positions and rotations may reach, in bits.
ROOM = 30


@dataclass(frozen=True)
class FixedPose:
    """Rotation in 2^-30, shift in 2^-place_bits m."""

    turn: I64  # (3, 3)
    shift: I64  # (3,)


@dataclass(frozen=True)
class FixedHinge:
    """A moving joint: it turns about, or slides along, the z axis of its frame."""

    start: FixedPose
    parent: int  # frame
    joint: int
    slide: int  # positions for 2^-28 of a turn, in 2^-16; 0: it turns


@dataclass(frozen=True)
class FixedView:
    """A camera."""

    base: FixedPose
    lens: I64  # fx fy in 2^-20 px, cx cy in 2^-16 px
    products: I64  # fx fx, fx fy, fy fy in 2^-(shape_bits + 2) px^2


@dataclass(frozen=True)
class FixedBody:
    """All of it."""

    hinges: list[FixedHinge]
    views: list[FixedView]
    centre: I64  # (N, 3)
    shape: I64  # (N, 6)
    rise: I64  # (N,)
    scale: I64  # (N,)
    frame: NDArray[np.int64]  # (N,)
    cover: NDArray[np.int64]  # (N,) row of covers
    covers: NDArray[np.uint8]  # (K, STEPS)
    nearest: int
    low_pass: int
    shape_bits: int
    width: int
    height: int
    n_q: int
    empty: float
    background: NDArray[np.uint8] | None  # (V, H, W) light

    @property
    def n_still(self) -> int:
        """How many ellipsoids no joint moves: they come first."""
        return int((self.frame == 0).sum())


@dataclass
class _Frames:
    """The moving parts, in the order of the file, and where the links stand in them."""

    links: dict[int, tuple[int, F64]] = field(default_factory=lambda: {0: (0, np.eye(4))})
    hinges: list[tuple[F64, int, FileJoint]] = field(default_factory=list)  # pose at 0, parent frame, joint

    def add(self, joint: FileJoint) -> None:
        frame, place = self.links[joint.parent]
        here = place @ joint.origin
        if joint.kind == "fixed" or joint.coordinate < 0:
            self.links[joint.child] = (frame, here @ _motion(joint, joint.rest))
            return
        turn = np.eye(4)
        turn[:3, :3] = _to_z(joint.axis)
        self.hinges.append((here @ turn, frame, joint))
        self.links[joint.child] = (len(self.hinges), turn.T)


def _motion(joint: FileJoint, q: float) -> F64:
    out = np.eye(4)
    if joint.kind == "prismatic":
        out[:3, 3] = q * joint.axis
    elif joint.kind == "revolute":
        out[:3, :3] = axis_angle(joint.axis, q)
    return out


def _to_z(axis: F64) -> F64:
    """A rotation whose third column is the axis."""
    z = axis / np.linalg.norm(axis)
    x = np.cross(z, np.eye(3)[np.abs(z).argmin()])
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _cover(opacity: float) -> NDArray[np.uint8]:
    """The light that an ellipsoid takes, / 256, by 64 steps of its fade; the first step is the inside."""
    fade = (np.arange(STEPS) + 0.5) / STEPS
    fade[0] = 0.0
    taken = opacity * (1 - fade * fade * (3 - 2 * fade))
    return np.minimum(np.rint(256 * taken), 255).astype(np.uint8)


def fixed(body: BodyNumbers) -> FixedBody:
    """Return a body model in fixed point.

    Raises:
        ConfigError: its lengths or focal lengths are beyond what fits.
    """
    frames = _Frames()
    for joint in body.joints:
        frames.add(joint)
    opacity = np.minimum(1 / (1 + np.exp(-body.ellipsoids[:, 11])), 1.0)
    seen = np.flatnonzero(opacity >= FAINT)
    frame = np.array([frames.links[int(body.links[i])][0] for i in seen])
    order = np.argsort(frame > 0, kind="stable")
    seen, frame = seen[order], frame[order]
    place_bits = _place_bits(body, frames, seen)
    centre, shape, scale = _shapes(body, frames, seen, place_bits)
    each = np.stack([_cover(round(64 * opacity[i]) / 64) for i in seen])
    covers, cover = np.unique(each, axis=0, return_inverse=True)
    camera = body.cameras[0]
    focal = max(float(c.lens[:2].max()) for c in body.cameras)
    if not focal < 2000:
        raise ConfigError(f"a camera's focal length is {focal:.0f} px, expected below 2000", "Use a smaller picture")
    shape_bits = min(SHAPE_BITS, math.floor(30.99 - 2 - 2 * math.log2(focal)))
    background = None
    if body.background is not None:
        background = np.rint(LIGHT / (1 + np.exp(body.background))).astype(np.uint8)
    rise = np.minimum(np.exp(body.ellipsoids[seen, 10]) / (2 * EDGE), STEEPEST)
    return FixedBody(
        [_hinge(*entry, place_bits) for entry in frames.hinges],
        [_view(c, body.base, place_bits, shape_bits) for c in body.cameras], centre, shape, _q(rise, 20), scale,
        frame, cover.ravel(), covers,
        max(1, round(min(c.near for c in body.cameras) * 2**place_bits)), round(body.low_pass_px2 * 2**shape_bits),
        shape_bits, camera.width, camera.height, body.n_q, body.empty, background)


def _q(values: F64, bits: int) -> I64:
    return np.rint(np.ldexp(values, bits)).astype(np.int64)


def _fixed_pose(pose: F64, place_bits: int) -> FixedPose:
    return FixedPose(_q(pose[:3, :3], ROOM), _q(pose[:3, 3], place_bits))


def _hinge(pose: F64, parent: int, joint: FileJoint, place_bits: int) -> FixedHinge:
    slide = round(2.0 ** (place_bits + 16) / UNITS_PER_RAD) if joint.kind == "prismatic" else 0
    return FixedHinge(_fixed_pose(pose, place_bits), parent, joint.coordinate, slide)


def _view(camera: FileCamera, base: F64, place_bits: int, shape_bits: int) -> FixedView:
    fx, fy, cx, cy = camera.lens
    lens = np.array([*_q(np.array([fx, fy]), 20), *_q(np.array([cx, cy]), 16)])
    return FixedView(_fixed_pose(camera.world_to_cam @ base, place_bits), lens,
                     _q(np.array([fx * fx, fx * fy, fy * fy]), shape_bits + 2))


def _place_bits(body: BodyNumbers, frames: _Frames, seen: NDArray[np.int64]) -> int:
    """Bits of a metre: no part can be farther from a camera than all lengths together."""
    far = max(float(np.linalg.norm((c.world_to_cam @ body.base)[:3, 3])) for c in body.cameras)
    far += sum(float(np.linalg.norm(pose[:3, 3])) + (8.0 if joint.kind == "prismatic" else 0.0)
               for pose, _, joint in frames.hinges)
    placed = [frames.links[int(body.links[i])][1] @ np.array([*body.ellipsoids[i, :3], 1.0]) for i in seen]
    far += max(float(np.linalg.norm(p[:3])) for p in placed)
    return math.floor(ROOM - 0.01 - math.log2(far))


def _shapes(body: BodyNumbers, frames: _Frames, seen: NDArray[np.int64], place_bits: int) -> tuple[I64, I64, I64]:
    """Centres, squared half axes and their scales, in the frames that carry them."""
    centres, shapes, scales = [], [], []
    for i in seen:
        p, (_, place) = body.ellipsoids[i], frames.links[int(body.links[i])]
        axes = place[:3, :3] @ rotation(p[6:10]) * np.exp(p[3:6])
        s = axes @ axes.T
        exponent = math.floor(ROOM - 0.01 - math.log2(np.abs(s).max()))
        centres.append(_q((place @ np.array([*p[:3], 1.0]))[:3], place_bits))
        shapes.append(_q(s[np.triu_indices(3)], exponent))
        scales.append(2 * place_bits - exponent - 26)
    return np.array(centres), np.array(shapes), np.array(scales)
