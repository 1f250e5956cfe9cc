"""The block of a body model back as numbers: docs/formats.md, "Ellipsoids"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.body_weights import _CAMERA, _HEAD, _JOINT, ENCODINGS, FINE
from edgekin.models.body import CAMERA, CORRECTION, ELLIPSOID
from edgekin.robot.chain import correction
from edgekin.robot.structs import JOINT_KIND

F64 = NDArray[np.float64]
KINDS = {code: kind for kind, code in JOINT_KIND.items() if kind != "continuous"}  # which is a revolute one


@dataclass(frozen=True)
class FileJoint:
    """A joint; its origin is corrected already."""

    kind: str  # fixed | revolute | prismatic
    parent: int  # link
    child: int
    coordinate: int  # of the joint angles; -1: held at rest
    rest: float  # rad or m
    axis: F64  # (3,)
    origin: F64  # (4, 4) m


@dataclass(frozen=True)
class FileCamera:
    """A camera, corrected already."""

    width: int  # px
    height: int
    lens: F64  # fx fy cx cy, px; a pixel is sampled at its whole numbers
    near: float  # m
    world_to_cam: F64  # (4, 4) m


@dataclass(frozen=True)
class BodyNumbers:
    """A body model as plain numbers."""

    joints: list[FileJoint]
    cameras: list[FileCamera]
    base: F64  # (4, 4) m, of link 0 in the world
    links: NDArray[np.int32]  # (N,) what carries each ellipsoid
    ellipsoids: F64  # (N, 12), the layout of edgekin.models.body
    low_pass_px2: float
    empty: float  # probability of a pixel that nothing reaches
    background: F64 | None  # (V, H, W) log-odds of a static layer
    n_q: int


def _pose(rows: F64) -> F64:
    return np.vstack([rows.reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])


def rotation(quaternion: F64) -> F64:
    """Return the rotation (3, 3) of a quaternion w x y z of any length."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                     [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                     [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])


def _ellipsoids(raw: bytes, n: int, encoding: str) -> tuple[F64, int]:
    """Ellipsoids (N, 12), and the bytes that they took."""
    if encoding == "fp32":
        size = 4 * ELLIPSOID * n
        return np.frombuffer(raw[:size], "<f4").reshape(n, ELLIPSOID).astype(np.float64), size
    scale, offset = np.frombuffer(raw[: 8 * ELLIPSOID], "<f4").reshape(2, ELLIPSOID)
    fine = np.frombuffer(raw, "<i2", FINE * n, 8 * ELLIPSOID).reshape(n, FINE)
    coarse = np.frombuffer(raw, "i1", (ELLIPSOID - FINE) * n, 8 * ELLIPSOID + 2 * FINE * n).reshape(n, -1)
    levels = np.concatenate([fine, coarse], axis=1).astype(np.float32)
    body = n * (2 * FINE + ELLIPSOID - FINE)
    return (levels * scale + offset).astype(np.float64), 8 * ELLIPSOID + -(-body // 4) * 4


def read_body(block: bytes, n_q: int) -> BodyNumbers:
    """Return the numbers of a body model's block, corrections taken into joints and cameras.

    Args:
        block: of the layer `ellipsoids`, whole.
        n_q: joint angles.
    """
    head = _HEAD.unpack_from(block)
    _, n_joints, n_views, n, corner, background, encoding = head[:7]
    low_pass, empty, base = head[8], head[9], _pose(np.array(head[10:22]))
    at = _HEAD.size
    joints = [_JOINT.unpack_from(block, at + _JOINT.size * i) for i in range(n_joints)]
    at += _JOINT.size * n_joints
    cameras = [_CAMERA.unpack_from(block, at + _CAMERA.size * i) for i in range(n_views)]
    at += _CAMERA.size * n_views
    links = np.frombuffer(block, "<i4", n, at)
    ellipsoids, size = _ellipsoids(block[at + 4 * n :], n, ENCODINGS[encoding])
    rest = np.frombuffer(block, "<f4", offset=at + 4 * n + size).astype(np.float64)
    own = rest[CORRECTION * n_joints :].tolist()
    sample = (0.0, 1.0) if corner else (0.5, 0.5)
    pixels = own[CAMERA * n_views :]
    return BodyNumbers(
        [_joint(j, rest[CORRECTION * i : CORRECTION * (i + 1)]) for i, j in enumerate(joints)],
        [_camera(c, np.array(own[CAMERA * i : CAMERA * (i + 1)]), sample) for i, c in enumerate(cameras)],
        base, links, ellipsoids, low_pass, empty,
        np.array(pixels).reshape(n_views, cameras[0][1], cameras[0][0]) if background else None, n_q)


def _joint(entry: tuple[float, ...], p: F64) -> FileJoint:
    kind, parent, child, coordinate = (int(v) for v in entry[:4])
    return FileJoint(KINDS[kind], parent, child, coordinate, entry[4], np.array(entry[5:8]),
                     _pose(np.array(entry[8:20])) @ correction(p))


def _camera(entry: tuple[float, ...], p: F64, sample: tuple[float, float]) -> FileCamera:
    fx, fy, cx, cy, near = entry[2:7]
    lens = np.array([fx * np.exp(p[6]), fy * np.exp(p[7]), cx + p[8] - sample[0], cy + p[9] - sample[1]])
    return FileCamera(int(entry[0]), int(entry[1]), lens, near, correction(p[:6]) @ _pose(np.array(entry[7:19])))
