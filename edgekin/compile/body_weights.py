"""A body model's block of the weight file: docs/formats.md, "Ellipsoids". Read by engines/splat/weights.c."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.models.body import ELLIPSOID
from edgekin.models.body_graph import BodyGraph
from edgekin.robot.structs import CONVENTION, base_rows, camera_struct, joint_structs

ENCODINGS = ("fp32", "int8")
#: Largest level of an int16 and of an int8.
WIDE, NARROW = 32767, 127
#: Floats of an ellipsoid that are int16: centre, log half axes, quaternion. In int8 they would lose 1.02, 0.25 and
#: 0.13 dB on kuka_iiwa (96 ellipsoids, 38.7 dB), 0.40, 0.81 and 0.02 on seed_arm; the other two lose 0.003 at most.
FINE = 10
#: Opacities, as logits, that pictures tell apart: below, an ellipsoid is not drawn (EK_SPLAT_FAINT); above, all the
#: same light is left (EK_SPLAT_DARK). Fits run far beyond, and steps would become as wide as that.
OPACITY = (-7.5, 13.87)
_HEAD = struct.Struct("<8I2d12d48x")
_JOINT = struct.Struct("<4i16d")
_CAMERA = struct.Struct("<2i17d")


def _packed(layout: struct.Struct, entry: dict[str, Any]) -> bytes:
    """The fields of a C struct one after another, as the struct has them."""
    values: list[float] = []
    for value in entry.values():
        values += value if isinstance(value, list) else [value]
    return layout.pack(*values)


def quantized_ellipsoids(values: NDArray[np.float32]) -> bytes:
    """Return ellipsoids (N, 12) as levels: int16 up to FINE, then int8; each column has a scale and an offset.

    Quaternions are normalised first, for only their direction matters, and opacities clipped.
    """
    values = values.astype(np.float64)
    values[:, 6:10] /= np.linalg.norm(values[:, 6:10], axis=1, keepdims=True)
    values[:, 11] = np.clip(values[:, 11], *OPACITY)
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
                      graph.optics.low_pass_px2, graph.optics.empty, *base_rows(graph.robot))
    joints = b"".join(_packed(_JOINT, entry) for entry in joint_structs(graph.robot))
    cameras = b"".join(_packed(_CAMERA, camera_struct(view)) for view in graph.robot.cameras)
    ellipsoids, rest = graph.parameters[: ELLIPSOID * n], graph.parameters[ELLIPSOID * n :]
    packed = (quantized_ellipsoids(ellipsoids.reshape(n, ELLIPSOID)) if encoding == "int8"
              else ellipsoids.astype("<f4").tobytes())
    return (head + joints + cameras + graph.links.astype("<i4").tobytes() + packed
            + rest.astype("<f4").tobytes())
