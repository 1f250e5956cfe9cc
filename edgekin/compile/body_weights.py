"""A body model's block of the weight file: docs/formats.md, "Ellipsoids". Read by engines/splat/weights.c."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from edgekin.models.body import CONVENTION, ELLIPSOID, JOINT_KIND
from edgekin.models.body_graph import BodyGraph

ENCODINGS = ("fp32", "int8")
#: Largest level of an int16 and of an int8.
WIDE, NARROW = 32767, 127
#: Floats of an ellipsoid that are int16: centre and log half axes, for which int8's steps are a millimetre or more:
#: seed_arm loses 1.1 and 0.8 dB by them, by all the others together 0.02 (60 ellipsoids, 300 training poses).
FINE = 6
_HEAD = struct.Struct("<8I2d12d48x")
_JOINT = struct.Struct("<4i16d")
_CAMERA = struct.Struct("<2i17d")


def _joints(graph: BodyGraph) -> bytes:
    out, coordinate = b"", 0
    for joint in graph.robot.joints:
        out += _JOINT.pack(JOINT_KIND[joint.kind], joint.parent, joint.child, coordinate if joint.actuated else -1,
                           joint.rest, *joint.axis, *joint.origin[:3].ravel())
        coordinate += joint.actuated
    return out


def _cameras(graph: BodyGraph) -> bytes:
    return b"".join(_CAMERA.pack(c.width, c.height, c.fx, c.fy, c.cx, c.cy, c.near, *c.world_to_cam[:3].ravel())
                    for c in graph.robot.cameras)


def quantized_ellipsoids(values: NDArray[np.float32]) -> bytes:
    """Return ellipsoids (N, 12) as levels: int16 up to FINE, then int8; each column has a scale and an offset.

    Quaternions are normalised first: only their direction matters.
    """
    values = values.astype(np.float64)
    values[:, 6:10] /= np.linalg.norm(values[:, 6:10], axis=1, keepdims=True)
    low, high = values.min(axis=0), values.max(axis=0)
    top = np.array([WIDE] * FINE + [NARROW] * (ELLIPSOID - FINE))
    scale = np.maximum((high - low) / (2 * top), 1e-9).astype(np.float32)
    offset = ((high + low) / 2).astype(np.float32)
    levels = np.clip(np.rint((values - offset) / scale), -top, top)
    body: bytes = levels[:, :FINE].astype("<i2").tobytes() + levels[:, FINE:].astype("<i1").tobytes()
    scales: bytes = scale.astype("<f4").tobytes() + offset.astype("<f4").tobytes()
    return scales + body + b"\0" * (-len(body) % 4)


def body_block(graph: BodyGraph, encoding: str) -> bytes:
    """Return the block of the layer `ellipsoids`.

    Args:
        graph: the trained body model.
        encoding: fp32, or int8 for the ellipsoids' parameters.
    """
    n = len(graph.links)
    head = _HEAD.pack(len(graph.robot.links), len(graph.robot.joints), graph.n_views, n,
                      CONVENTION[graph.robot.convention], int(graph.optics.background), ENCODINGS.index(encoding), 0,
                      graph.optics.low_pass_px2, graph.optics.empty, *graph.robot.base[:3].ravel())
    ellipsoids, rest = graph.parameters[: ELLIPSOID * n], graph.parameters[ELLIPSOID * n :]
    packed = (quantized_ellipsoids(ellipsoids.reshape(n, ELLIPSOID)) if encoding == "int8"
              else ellipsoids.astype("<f4").tobytes())
    return (head + _joints(graph) + _cameras(graph) + graph.links.astype("<i4").tobytes() + packed
            + rest.astype("<f4").tobytes())
