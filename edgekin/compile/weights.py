"""The flat weight file (`model.ekw`) that the C engine opens: docs/formats.md, "Weight file"."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.body_weights import body_block
from edgekin.errors import BundleError, ConfigError
from edgekin.models.body_graph import BodyGraph
from edgekin.models.graph import DepthHead, Graph, Layer
from edgekin.models.reference import Shape, shapes
from edgekin.quantization.qgraph import QuantGraph, QuantLayer
from edgekin.runtime.engine import FILE_PRECISIONS, KINDS

MAGIC = b"EKW1"
VERSION = 2
ALIGN = 64
HEADER_BYTES = 64
LAYER_BYTES = 128
CRC_OFFSET = 40
KIND_CODES = {kind: code for code, kind in enumerate(KINDS)}
#: What the engines accept (engines/native/model.h): attribute -> largest value.
LIMITS = {"kernel": 15, "stride": 8, "pad": 15, "factor": 16}
MAX_LAYERS, MAX_SIDE, MAX_ELEMENTS = 64, 4096, 1 << 22
_HEADER = struct.Struct("<4s7IQII2f8x")
_LAYER = struct.Struct("<12I2f2I6Q16x")


@dataclass(frozen=True)
class WeightHeader:
    """The head of a weight file."""

    version: int
    precision: str  # fp32 | int8
    n_joints: int
    n_views: int
    height: int  # px
    width: int  # px
    n_layers: int
    file_bytes: int
    crc32: int  # of the whole file with this field zero
    depth: DepthHead | None  # how the maps behind the logits mean depth


class _Blocks:
    """Collects the data blocks, each 64-byte aligned."""

    def __init__(self, start: int) -> None:
        self.data = bytearray()
        self.start = start

    def add(self, array: NDArray[Any] | None, dtype: str) -> tuple[int, int]:
        """Append an array; return its offset in the file and its bytes, or zeros for None."""
        if array is None:
            return 0, 0
        raw = np.ascontiguousarray(array, dtype=dtype).tobytes()
        offset = self.start + len(self.data)
        self.data += raw + b"\0" * (-len(raw) % ALIGN)
        return offset, len(raw)


def _kernel(layer: Layer | QuantLayer) -> int:
    return int(layer.weight.shape[2]) if layer.weight is not None and layer.weight.ndim == 4 else 0


def _check_limits(layer: Layer | QuantLayer, size_out: Shape) -> None:
    values = {**layer.attrs, "kernel": _kernel(layer)}
    for name, largest in LIMITS.items():
        if not 0 <= values.get(name, 0) <= largest:
            raise ConfigError(f"layer {layer.name} has {name} {values[name]}, expected at most {largest}")
    channels, height, width = size_out
    if max(height, width) > MAX_SIDE or channels * height * width > MAX_ELEMENTS:
        raise ConfigError(f"layer {layer.name} yields {size_out}, expected sides up to {MAX_SIDE} px and "
                          f"{MAX_ELEMENTS} elements", "Use a smaller picture")


def _layer_record(layer: Layer | QuantLayer, size_in: Shape, size_out: Shape, blocks: _Blocks) -> bytes:
    a = layer.attrs
    _check_limits(layer, size_out)
    quant = isinstance(layer, QuantLayer)
    weight = blocks.add(layer.weight, "<i1" if quant else "<f4")
    bias = blocks.add(layer.bias, "<i4" if quant else "<f4")
    mult = blocks.add(layer.multiplier if isinstance(layer, QuantLayer) else None, "<i4")
    stride = a.get("stride", 1) if layer.kind in ("conv", "convt") else 0
    scales = (layer.in_scale, layer.out_scale, layer.shift) if isinstance(layer, QuantLayer) else (0.0, 0.0, 0)
    return _LAYER.pack(
        KIND_CODES[layer.kind], int(bool(a.get("relu"))), *size_in, *size_out, _kernel(layer), stride, a.get("pad", 0),
        a.get("factor", 0), *scales, 0, *weight, *bias, *mult)


def _sizes(graph: Graph | QuantGraph) -> list[Shape]:
    if isinstance(graph, Graph):
        return shapes(graph)
    layers = tuple(Layer(q.kind, q.name, q.attrs, q.weight, q.bias) for q in graph.layers)  # type: ignore[arg-type]
    return shapes(Graph(graph.n_joints, graph.n_views, graph.height, graph.width, layers, graph.depth))


def write_body(graph: BodyGraph, encoding: str = "fp32") -> bytes:
    """Return the weight file of a body model, whose parameters are stored as fp32 or int8; its arithmetic is FP32."""
    blocks = _Blocks(HEADER_BYTES + LAYER_BYTES)
    weight = blocks.add(np.frombuffer(body_block(graph, encoding), dtype=np.uint8), "u1")
    size = (graph.n_joints, graph.n_views, graph.height, graph.width)
    record = _LAYER.pack(KIND_CODES["ellipsoids"], 0, graph.n_joints, 1, 1, *size[1:], 0, 0, 0, 0, 0.0, 0.0, 0, 0,
                         *weight, 0, 0, 0, 0)
    return _file(0, size, [record], blocks)


def write_weights(graph: Graph | QuantGraph) -> bytes:
    """Return the weight file of a decoder.

    Args:
        graph: the float graph (an FP32 file) or the quantized one (INT8).

    Returns:
        The file's bytes, as docs/formats.md describes them.

    Raises:
        ConfigError: the graph is inconsistent, or beyond what the engines accept.
    """
    sizes = _sizes(graph)
    if len(graph.layers) > MAX_LAYERS:
        raise ConfigError(f"the graph has {len(graph.layers)} layers, expected at most {MAX_LAYERS}")
    blocks = _Blocks(HEADER_BYTES + LAYER_BYTES * len(graph.layers))
    layers: tuple[Layer | QuantLayer, ...] = graph.layers
    table = [_layer_record(layer, sizes[i], sizes[i + 1], blocks) for i, layer in enumerate(layers)]
    size = (graph.n_joints, graph.n_views, graph.height, graph.width)
    return _file(int(isinstance(graph, QuantGraph)), size, table, blocks, graph.depth)


def _file(precision: int, size: tuple[int, int, int, int], table: list[bytes], blocks: _Blocks,
          depth: DepthHead | None = None) -> bytes:
    """Head, layer table and blocks, under one checksum; size: joints, views, height, width."""
    total = blocks.start + len(blocks.data)
    fields = (MAGIC, VERSION, precision, *size, len(table), total)
    body = b"".join(table) + bytes(blocks.data)
    head = (size[1], depth.offset_m, depth.unit_m) if depth else (0, 0.0, 0.0)
    crc = zlib.crc32(body, zlib.crc32(_HEADER.pack(*fields, 0, *head)))
    return _HEADER.pack(*fields, crc, *head) + body


def read_header(blob: bytes) -> WeightHeader:
    """Return the head of a weight file after checking magic, version, size and checksum.

    Raises:
        BundleError: the file is not a weight file, of another version, cut off or changed.
    """
    if len(blob) < HEADER_BYTES or blob[:4] != MAGIC:
        raise BundleError(f"not a weight file: {len(blob)} bytes that begin with {blob[:4]!r}, expected {MAGIC!r}",
                          "Run: edgekin compile")
    _, version, precision, *rest = _HEADER.unpack(blob[:HEADER_BYTES])
    if version != VERSION:
        raise BundleError(f"the weight file has version {version}, expected {VERSION}", "Run: edgekin compile")
    n_joints, n_views, height, width, n_layers, file_bytes, crc, n_depth, offset, unit = rest
    if file_bytes != len(blob) or precision >= len(FILE_PRECISIONS):
        raise BundleError(f"the weight file has {len(blob)} bytes, its head says {file_bytes}", "Run: edgekin compile")
    zeroed = blob[:CRC_OFFSET] + b"\0\0\0\0" + blob[CRC_OFFSET + 4 :]
    if zlib.crc32(zeroed) != crc:
        raise BundleError("the weight file was changed: its checksum does not match", "Run: edgekin compile")
    return WeightHeader(version, FILE_PRECISIONS[precision], n_joints, n_views, height, width, n_layers, file_bytes,
                        crc, DepthHead(offset, unit) if n_depth else None)
