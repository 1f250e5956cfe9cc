"""An INT8 weight file back as the integer graph that it was written of: docs/formats.md, "Weight file"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.weights import _LAYER, HEADER_BYTES, LAYER_BYTES, read_header
from edgekin.errors import BundleError
from edgekin.models.reference import Shape
from edgekin.quantization.qgraph import QuantGraph, QuantLayer
from edgekin.runtime.engine import KINDS


def read_blocks(blob: bytes) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the kind of every layer and its record, after checking the file whole; raises BundleError."""
    header = read_header(blob)
    records = [_LAYER.unpack_from(blob, HEADER_BYTES + LAYER_BYTES * i) for i in range(header.n_layers)]
    return [(KINDS[record[0]], record) for record in records]


def block(blob: bytes, offset: int, size: int, dtype: str) -> NDArray[Any] | None:
    """Return the numbers of a block; None for an empty one."""
    return np.frombuffer(blob, dtype, size // np.dtype(dtype).itemsize, offset).copy() if size else None


def read_weights(blob: bytes) -> QuantGraph:
    """Return the integer graph of an INT8 weight file.

    Raises:
        BundleError: the file is damaged, or not a decoder in INT8.
    """
    header = read_header(blob)
    if header.precision != "int8" or KINDS[blob[HEADER_BYTES]] == "ellipsoids":
        raise BundleError(f"the weight file is {header.precision}, expected a decoder in int8",
                          "Run: edgekin compile --int8")
    counts: dict[str, int] = {}
    layers = []
    for kind, record in read_blocks(blob):
        number = counts[kind] = counts.get(kind, -1) + 1
        layers.append(_layer(blob, kind, f"{kind}{number}", record))
    return QuantGraph(header.n_joints, header.n_views, header.height, header.width, tuple(layers), header.depth)


def _layer(blob: bytes, kind: str, name: str, record: tuple[Any, ...]) -> QuantLayer:
    relu, size_in, size_out, (k, stride, pad, factor) = record[1], record[2:5], record[5:8], record[8:12]
    in_scale, out_scale, shift = record[12:15]
    blocks = record[16:22]
    weight, bias, multiplier = (block(blob, blocks[2 * i], blocks[2 * i + 1], dtype)
                                for i, dtype in enumerate(("<i1", "<i4", "<i4")))
    attrs = {"linear": {"relu": relu}, "conv": {"pad": pad, "relu": relu},
             "convt": {"stride": stride, "pad": pad, "relu": relu}, "pixel_shuffle": {"factor": factor},
             "reshape": dict(zip(("channels", "height", "width"), size_out, strict=True)),
             "resize": {"height": size_out[1], "width": size_out[2]},
             "crop": {"height": size_out[1], "width": size_out[2]}}.get(kind, {})
    if weight is not None:
        weight = weight.reshape(_weight_shape(kind, k, size_in, size_out))
    return QuantLayer(kind, name, attrs, in_scale, out_scale, shift, weight, bias, multiplier)


def _weight_shape(kind: str, k: int, size_in: Shape, size_out: Shape) -> tuple[int, ...]:
    if kind == "linear":
        return size_out[0], int(np.prod(size_in))
    return (size_in[0], size_out[0], k, k) if kind == "convt" else (size_out[0], size_in[0], k, k)
