"""An integer graph becomes a program of the kernels of engines/mcu, for one layout of the weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu.pack import ROWS, STEP, Sparse, packed, padded, phases, provable, sparse, turned
from edgekin.compile.mcu.program import ALIGN, Program, Step, Struct, Table
from edgekin.compile.mcu.reference import joints_scale
from edgekin.compile.mcu.steady import steady
from edgekin.errors import ConfigError
from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import Shape, shapes
from edgekin.quantization import qgraph
from edgekin.quantization.qgraph import JOINT_MAX, QMAX, QuantGraph, QuantLayer, requantize

I8 = NDArray[np.int8]
MOST_TAPS = 15  # EK_MOST_TAPS
BASE = ("common.h",)


def lower(graph: QuantGraph, layout: str, prefix: str = "model") -> Program:
    """Return the program of a graph.

    Args:
        graph: the integer decoder.
        layout: rows, pairs or wide.
        prefix: of the names of its constants.

    Raises:
        ConfigError: a layer that the kernels do not take.
    """
    return _Lowering(graph, layout, prefix).program()


def sizes_of(graph: QuantGraph) -> list[Shape]:
    """Return the input's and every layer's output shape (C, H, W)."""
    layers = tuple(Layer(q.kind, q.name, q.attrs, q.weight, q.bias) for q in graph.layers)  # type: ignore[arg-type]
    return shapes(Graph(graph.n_joints, graph.n_views, graph.height, graph.width, layers, graph.depth))


def _hwc(weight: I8, size: Shape) -> I8:
    """Rows in the order (channel, y, x) in the order (y, x, channel)."""
    return weight.reshape(*size, *weight.shape[1:]).transpose(1, 2, 0, *range(3, weight.ndim + 2)).reshape(weight.shape)


@dataclass(frozen=True)
class _At:
    """A layer in its place."""

    layer: QuantLayer
    size_in: Shape
    size_out: Shape


class _Lowering:
    def __init__(self, graph: QuantGraph, layout: str, prefix: str) -> None:
        self.graph, self.layout, self.prefix = graph, layout, prefix
        self.step, self.fine_step = STEP[layout]
        self.in_bytes = 2 if layout == "pairs" else 1
        self.dot = f"dot_{layout}.h"
        self.steady = steady(graph)
        self.out = Program()

    def program(self) -> Program:
        sizes, layers = sizes_of(self.graph), self.graph.layers
        i = 0
        while i < len(layers):
            at = _At(layers[i], sizes[i], sizes[i + 1])
            after = layers[i + 1] if i + 1 < len(layers) else None
            if at.layer.kind == "linear" and after is not None and after.kind == "reshape":
                self.linear(_At(at.layer, at.size_in, sizes[i + 2]), i == 1)  # its rows are put in the map's order
                i += 1
            elif after is not None and qgraph.upconv(at.layer, after, at.size_in):
                self.upconv(at, after, sizes[i + 2])
                i += 1
            elif at.layer.kind == "linear":
                self.linear(at, i == 1)
            else:
                getattr(self, at.layer.kind)(at)
            i += 1
        self.planes(sizes[-1])
        return self.out

    # ---- constants

    def table(self, name: str, ctype: str, values: NDArray[np.generic]) -> str:
        full = f"{self.prefix}_{name}"
        self.out.constants.append(Table(full, ctype, values))
        return full

    def struct(self, name: str, ctype: str, fields: str) -> str:
        full = f"{self.prefix}_{name}"
        self.out.constants.append(Struct(full, ctype, fields))
        return full

    def add(self, at: _At, call: str, kernels: tuple[str, ...], scratch: int = 0, macs: int = 0,
            in_place: bool = False, still: int = 0) -> None:
        size = int(np.prod(at.size_out)) * (2 if at.layer.kind in ("sincos", "joints") else 1)
        self.out.steps.append(Step((*BASE, self.dot, *kernels), call, size, scratch, at.layer.name, macs, in_place,
                                   still))

    def blocks(self, layer: QuantLayer, weight: I8, in_max: int, order: NDArray[np.int64] | None = None,
               kept: NDArray[np.bool_] | None = None) -> str:
        """Bias and multipliers in blocks of four rows, or of those kept; weight (rows, inputs) bounds the sums."""
        assert layer.bias is not None and layer.multiplier is not None  # noqa: PT018
        bias, multiplier = layer.bias, layer.multiplier
        left = 32 - layer.shift
        bound = np.abs(bias.astype(np.int64)) + in_max * np.abs(weight.astype(np.int64)).sum(axis=1).max()
        if (bound << left).max() >= 2**31:
            raise ConfigError(f"layer {layer.name}: the output scale {layer.out_scale:.3g} is too small for its inputs",
                              "Calibrate the output scale on more samples")
        both = np.zeros((2, padded(len(bias), ROWS)), dtype=np.int32)
        both[0, : len(bias)], both[1, : len(bias)] = bias, multiplier
        if order is not None:
            both[:, : len(bias)] = both[:, order]
        rows = both.reshape(2, -1, ROWS).transpose(1, 0, 2)
        return self.table(f"{layer.name}_blocks", "ek_block", rows if kept is None else rows[kept])

    def weights(self, layer: QuantLayer, names: tuple[str, str, str], rows: int, length: int) -> str:
        """The fields of an ek_weights; names of weights, blocks and chunks."""
        least = 0 if layer.attrs.get("relu") else -QMAX
        return f"{', '.join(names)}, {rows}, {length}, {32 - layer.shift}, {least}"

    # ---- layers

    def sincos(self, at: _At) -> None:
        call = f"ek_sincos(joints, {at.size_in[0]}, (int16_t *){{output}})"
        self.add(at, call, ("input.h", "sincos.h"))

    def joints(self, at: _At) -> None:
        multiplier, shift = joints_scale(at.layer)
        call = f"ek_joints(joints, {at.size_in[0]}, {multiplier}, {shift}, (int16_t *){{output}})"
        self.add(at, call, ("joints.h",))

    def linear(self, at: _At, fine: bool) -> None:
        layer = at.layer
        assert layer.weight is not None
        weight = layer.weight
        order: NDArray[np.int64] | None = None
        if at.size_in[0] > 1 and at.size_in[1] * at.size_in[2] > 1:
            weight = np.ascontiguousarray(_hwc(np.ascontiguousarray(weight.T), at.size_in).T)
        if at.size_out[1] * at.size_out[2] > 1:
            order = np.arange(len(weight)).reshape(at.size_out).transpose(1, 2, 0).ravel()
            weight = weight[order]
        length, name = padded(weight.shape[1], self.fine_step if fine else self.step), layer.name
        macs, scratch = weight.size, 0 if fine or self.layout != "pairs" else 2 * length
        found = self.sparse(layer, weight, order) if not fine and self.fits(weight) else None
        kept = None if found is None else found.kept
        blocks = self.blocks(layer, layer.weight, JOINT_MAX if fine else QMAX, order, kept)
        if found is not None:
            names = (self.table(f"{name}_weights", "int8_t", found.weight), blocks,
                     self.table(f"{name}_chunks", "uint16_t", found.at))
            kernel, macs = found.kernel, found.weight.size
        else:
            plain = not fine and not self.fits(weight)
            kernel = "linear_fine" if fine else "linear_plain" if plain else "linear"
            dense = packed(weight, self.layout, fine, plain)
            names = (self.table(f"{name}_weights", "int8_t", dense.ravel()), blocks, "0")
        self.struct(name, "ek_weights", self.weights(layer, names, len(weight), length))
        source = "(const int16_t *){input}, {output}" if fine else "{input}, {output}, (ek_in *){scratch}"
        files = ("linear_fine.h", "linear_plain.h") if kernel == "linear_plain" else (f"{kernel}.h",)
        still = 0 if kept is None else ROWS * int((~kept).sum())
        self.add(at, f"ek_{kernel}(&{self.prefix}_{name}, {source})", files, scratch, macs, still=still)

    def sparse(self, layer: QuantLayer, weight: I8, order: NDArray[np.int64] | None) -> Sparse | None:
        """Weights (rows, inputs) without blocks of zeros, where that pays."""
        assert layer.bias is not None and layer.multiplier is not None  # noqa: PT018
        alone = requantize(layer.bias.astype(np.int64)[None, :, None, None], layer.multiplier, layer.shift,
                           bool(layer.attrs.get("relu"))).ravel()
        return sparse(weight, self.layout, (alone if order is None else alone[order]) == 0)

    def fits(self, weight: I8) -> bool:
        """Whether the layout's int8 kernel takes these weights: packed sums need a proof."""
        return self.layout != "pairs" or provable(weight)

    def conv(self, at: _At) -> None:
        assert at.layer.weight is not None
        k = at.layer.weight.shape[2]
        self.convolution(at, turned(at.layer.weight), 1, k - 1 - at.layer.attrs["pad"])

    def convt(self, at: _At) -> None:
        assert at.layer.weight is not None
        self.convolution(at, at.layer.weight, at.layer.attrs["stride"], at.layer.attrs["pad"])

    def convolution(self, at: _At, weight: I8, stride: int, pad: int) -> None:
        """weight (in, out, k, k), stride and pad are those of the transposed convolution."""
        layer, (channels, height, width), (outputs, to_height, to_width) = at.layer, at.size_in, at.size_out
        taps = -(-weight.shape[2] // stride)
        if taps > MOST_TAPS or not 0 <= pad < 256:
            raise ConfigError(f"layer {layer.name} has kernel {weight.shape[2]} and pad {layer.attrs['pad']}, which "
                              "the kernels for microcontrollers do not take", "Use a smaller kernel and pad")
        parts = phases(weight, stride, self.step)
        plain = not all(self.fits(part) for part in parts)
        dense = np.stack([packed(part, self.layout, plain=plain) for part in parts])
        rows = weight.transpose(1, 0, 2, 3).reshape(outputs, -1)
        names = (self.table(f"{layer.name}_weights", "int8_t", dense.ravel()), self.blocks(layer, rows, QMAX), "0")
        length = parts.shape[2] // taps
        before = max(0, taps - 1 - pad // stride)
        after = max(0, (to_width - 1 + pad) // stride - (width - 1))
        pitch = padded((before + width + after) * channels + self.step, ALIGN)
        spans, rest, share = ("0", "0", 1.0) if plain else self.spans(layer, to_height * to_width)
        self.struct(layer.name, "ek_convolution",
                    f"{{{self.weights(layer, names, outputs, length)}}}, {dense[0].size}, {height}, {width}, "
                    f"{to_height}, {to_width}, {channels}, {pitch}, {stride}, {taps}, {pad}, {before}, "
                    f"{spans}, {rest}")
        kernel = "conv_plain" if plain else "conv_spans" if share < 1 else "conv"
        places = to_height * to_width if layer.kind == "conv" else height * width
        self.add(at, f"ek_{kernel}(&{self.prefix}_{layer.name}, {{input}}, {{output}}, (ek_in *){{scratch}})",
                 ("conv.h",) if kernel == "conv" else ("conv.h", f"{kernel}.h"), (taps + 1) * pitch * self.in_bytes,
                 round(weight.size * places * share), still=round((1 - share) * to_height * to_width) * outputs)

    def spans(self, layer: QuantLayer, places: int) -> tuple[str, str, float]:
        """A convolution's spans, what places are that are not computed, and the share of those that are."""
        found = self.steady[layer.name].spans() if layer.name in self.steady else None
        if found is None:
            return "0", "0", 1.0
        return (self.table(f"{layer.name}_spans", "ek_span", found.rows),
                self.table(f"{layer.name}_rest", "int8_t", found.rest.ravel()), found.places / places)

    def reshape(self, at: _At) -> None:
        (c, h, w), (to_c, to_h, to_w) = at.size_in, at.size_out
        if at.size_in != at.size_out:
            call = f"ek_reshape({{input}}, {c}, {h * w}, {to_c}, {to_h * to_w}, {{output}})"
            self.add(at, call, ("reshape.h",))

    def pixel_shuffle(self, at: _At) -> None:
        _, h, w = at.size_in
        f = at.layer.attrs["factor"]
        self.add(at, f"ek_pixel_shuffle({{input}}, {h}, {w}, {at.size_out[0]}, {f}, {{output}})", ("pixel_shuffle.h",))

    def crop(self, at: _At) -> None:
        (c, _, w), (_, to_h, to_w) = at.size_in, at.size_out
        self.add(at, f"ek_crop({{input}}, {w}, {c}, {to_h}, {to_w}, {{output}})", ("crop.h",), in_place=True)

    def resize(self, at: _At) -> None:
        c, h, w = at.size_in
        rows, columns = (self.places(at, axis) for axis in (1, 2))
        self.add(at, f"ek_resize({{input}}, {h}, {w}, {c}, {rows}, {columns}, {at.size_out[1]}, {at.size_out[2]}, "
                     "{output})", ("resize.h",))

    def places(self, at: _At, axis: int) -> str:
        first, _, second = qgraph.integer_taps(at.size_in[axis], at.size_out[axis])
        name = f"{at.layer.name}_{'rows' if axis == 1 else 'columns'}"
        return self.table(name, "ek_place", np.stack([first, second], axis=1).astype(np.uint16))

    def upconv(self, at: _At, layer: QuantLayer, size_out: Shape) -> None:
        """A resize and the convolution behind it."""
        assert layer.weight is not None and layer.bias is not None  # noqa: PT018
        (channels, height, width), (outputs, to_height, to_width) = at.size_in, size_out
        shift = qgraph.upconv_shift(layer.weight)
        bias = np.clip((layer.bias.astype(np.int64) + (1 << shift >> 1)) >> shift, -(2**15 - 1), 2**15 - 1)
        stamps = layer.weight.transpose(2, 3, 0, 1).reshape(9 * outputs, channels)
        length, name = padded(channels, self.step), layer.name
        names = (self.table(f"{name}_weights", "int8_t", packed(stamps, self.layout, plain=True).ravel()), "0", "0")
        places = []
        for axis, (size_in, size) in enumerate(((height, to_height), (width, to_width))):
            first, _, second = qgraph.fine_taps(size_in, size)
            places.append(self.table(f"{name}_{('rows', 'columns')[axis]}", "ek_fine_place",
                                     np.stack([first, second], axis=1).astype(np.uint16)))
        sums = [self.table(f"{name}_bias", "int16_t", bias.astype(np.int16)),
                self.table(f"{name}_multiplier", "int16_t", qgraph.fine_multiplier(layer, shift).astype(np.int16))]
        self.struct(name, "ek_enlargement",
                    f"{{{self.weights(layer, names, len(stamps), length)}}}, {', '.join(places)}, {', '.join(sums)}, "
                    f"{height}, {width}, {channels}, {to_height}, {to_width}, {outputs}, {shift}")
        scratch = 2 * (width * 9 * outputs + 3 * 3 * to_width * outputs + 2 * length + ALIGN)
        self.add(_At(layer, at.size_in, size_out),
                 f"ek_upconv(&{self.prefix}_{name}, {{input}}, {{output}}, (int16_t *){{scratch}})", ("upconv.h",),
                 scratch, stamps.size * height * width)

    def planes(self, size: Shape) -> None:
        """The logits one view after another, without what is behind them."""
        channels, height, width = size
        if channels > 1:
            at = _At(QuantLayer("planes", "planes", {}, 1.0, 1.0), size, (self.graph.n_views, height, width))
            self.add(at, f"ek_planes({{input}}, {height * width}, {channels}, {self.graph.n_views}, {{output}})",
                     ("planes.h",))
