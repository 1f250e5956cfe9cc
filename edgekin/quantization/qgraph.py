"""The quantized decoder and its integer arithmetic in numpy: what every INT8 engine must reproduce bit for bit.

The arithmetic is specified in docs/formats.md ("Integer arithmetic").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError
from edgekin.models.graph import DepthHead, Graph, Layer
from edgekin.models.reference import CHUNK, Shape, conv, convt, pixel_shuffle, resize_taps, shapes, sincos

Array = NDArray[Any]
I8 = NDArray[np.int8]

#: sin and cos fill the range [-1, 1] exactly.
SINCOS_SCALE = np.float32(1.0 / 32767.0)
#: Joints reach the first linear layer in 16 bits: in 8 a step would be half a degree.
JOINT_MAX = 32767
#: The largest quantized value; -128 is never used, so that negation is exact.
QMAX = 127
#: The bias may use half of the accumulator's range.
BIAS_MAX = 2**30
#: Bilinear weights are multiples of 1/256, so that one axis fits into 16 bits (256 * 127 < 2^15).
RESIZE_ONE = 256
#: Of an enlarged map that is convolved.
UPCONV_CHANNELS = 128
#: Nine of these, and what rounding adds, stay inside 16 bits.
STAMP_LIMIT = 3630
WEIGHTED = ("linear", "conv", "convt")


@dataclass(frozen=True)
class QuantLayer:
    """One step of the integer graph."""

    kind: str  # a key of edgekin.models.graph.KINDS
    name: str
    attrs: dict[str, Any]
    in_scale: float  # real value of one input unit (float32-exact; 1.0 for the first layer)
    out_scale: float  # real value of one output unit (float32-exact)
    shift: int = 0  # of the requantization, 1..32
    weight: I8 | None = None  # the shapes of the float graph
    bias: NDArray[np.int32] | None = None  # (out,) in units of in_scale * weight_scale
    multiplier: NDArray[np.int32] | None = None  # (out,)
    weight_scale: NDArray[np.float64] | None = None  # (out,)


@dataclass(frozen=True)
class QuantGraph:
    """A whole decoder in integers: joints (J,) rad -> int8 logits (V, H, W) of scale `out_scale`."""

    n_joints: int
    n_views: int
    height: int  # px
    width: int  # px
    layers: tuple[QuantLayer, ...] = field(default_factory=tuple)
    depth: DepthHead | None = None  # as of the float graph; its numbers are in units of `out_scale`

    @property
    def out_scale(self) -> float:
        """The natural-log odds that one unit of the integer logits is worth."""
        return self.layers[-1].out_scale


def quantize_joints(x: Array, scale: float) -> NDArray[np.int16]:
    """Return clip(rint(x / scale), -32767, 32767) in float32, rounding half to even."""
    levels = np.rint(np.asarray(x, np.float32) / np.float32(scale))
    return np.asarray(np.clip(levels, -JOINT_MAX, JOINT_MAX), dtype=np.int16)


def dequantize(q: Array, scale: float) -> NDArray[np.float32]:
    """Return q * scale in float32."""
    return np.asarray(q.astype(np.float32) * np.float32(scale), dtype=np.float32)


def _rows(weight: Array, kind: str) -> Array:
    """The weights as (out, everything else)."""
    return (weight.swapaxes(0, 1) if kind == "convt" else weight).reshape(weight.shape[1 if kind == "convt" else 0], -1)


def _per_channel(values: Array, weight: Array, kind: str) -> Array:
    shape = [1] * weight.ndim
    shape[1 if kind == "convt" else 0] = -1
    return values.reshape(shape)


def _weight_scale(layer: Layer, in_scale: float, out_scale: float) -> NDArray[np.float64]:
    """(out,) the layer's own, or else max-abs / 127."""
    assert layer.weight is not None and layer.bias is not None  # noqa: PT018
    if layer.weight_scale is not None:
        return layer.weight_scale
    scale: NDArray[np.float64] = np.abs(_rows(layer.weight, layer.kind)).max(axis=1).astype(np.float64) / QMAX
    # A dead channel takes the largest scale of the others: any would do, but its multiplier must not be the largest.
    scale[scale == 0] = scale.max() if scale.max() > 0 else out_scale / in_scale
    return scale


def _requantization(name: str, ratio: NDArray[np.float64]) -> tuple[NDArray[np.int32], int]:
    """The multipliers and the largest shift <= 32 for which all of them fit into int32."""
    for shift in range(32, 0, -1):
        multiplier = np.rint(np.ldexp(ratio, shift))
        if multiplier.max() <= 2**31 - 1:
            return multiplier.astype(np.int32), shift
    raise ConfigError(f"layer {name}: in_scale * weight_scale / out_scale is {ratio.max():.3g}, expected below 2^30",
                      "Calibrate the output scale on more samples")


def upconv(resize: Layer | QuantLayer, conv_: Layer | QuantLayer, size_in: Shape) -> bool:
    """Whether engines convolve before they enlarge: 3x3, on maps (C, H, W) that at least double along both axes."""
    if resize.kind != "resize" or conv_.kind != "conv" or conv_.weight is None:
        return False
    (channels, height, width), a = size_in, resize.attrs
    return (conv_.weight.shape[2] == 3 and conv_.attrs["pad"] == 1 and channels <= UPCONV_CHANNELS
            and a["height"] >= 2 * height and a["width"] >= 2 * width)


def upconv_shift(weight: I8) -> int:
    """By how much the sums over the channels of weight (O, I, 3, 3) are shifted to fit into 16 bits."""
    largest = QMAX * int(np.abs(weight.astype(np.int64)).sum(axis=1).max())
    return next(s for s in range(32) if (largest + (1 << s >> 1)) >> s <= STAMP_LIMIT)


def _check_range(layer: QuantLayer, in_max: int) -> None:
    """The accumulator must fit into int32, and so must its requantized value before the clip."""
    assert layer.weight is not None and layer.bias is not None and layer.multiplier is not None  # noqa: PT018
    total = np.abs(_rows(layer.weight.astype(np.int64), layer.kind)).sum(axis=1)
    bound = np.abs(layer.bias.astype(np.int64)) + in_max * total
    if bound.max() >= 2**31:
        raise ConfigError(f"layer {layer.name}: an accumulator can reach {bound.max()}, expected below 2^31",
                          "Use fewer inputs per layer")
    top = [int(b) * int(m) + 2 ** (layer.shift - 1) for b, m in zip(bound, layer.multiplier, strict=True)]
    if max(top) >= 2 ** (31 + layer.shift):
        raise ConfigError(f"layer {layer.name}: the output scale {layer.out_scale:.3g} is far too small for its inputs",
                          "Calibrate the output scale on more samples")


def quantize_layer(layer: Layer, in_scale: float, out_scale: float, in_max: int = QMAX) -> QuantLayer:
    """Return one weighted layer in integers.

    Args:
        layer: linear, conv or convt.
        in_scale: real value of one unit of its input.
        out_scale: real value of one unit of its output.
        in_max: the largest magnitude of an input, in units.

    Raises:
        ConfigError: the scales are not positive and finite, or the integers would overflow.
    """
    assert layer.weight is not None and layer.bias is not None  # noqa: PT018 - shapes() has checked both
    if not (np.isfinite(out_scale) and out_scale > 0):
        raise ConfigError(f"layer {layer.name} has the output scale {out_scale}, expected a positive number")
    weight_scale = _weight_scale(layer, in_scale, out_scale)
    if weight_scale.shape != layer.bias.shape or not (np.isfinite(weight_scale) & (weight_scale > 0)).all():
        raise ConfigError(f"layer {layer.name} needs {layer.bias.size} positive weight scales")
    bias = layer.bias.astype(np.float64)
    weight_scale = np.maximum(weight_scale, np.abs(bias) / (in_scale * BIAS_MAX))
    weight = np.rint(layer.weight.astype(np.float64) / _per_channel(weight_scale, layer.weight, layer.kind))
    multiplier, shift = _requantization(layer.name, in_scale * weight_scale / out_scale)
    result = QuantLayer(
        layer.kind, layer.name, dict(layer.attrs), in_scale, out_scale, shift,
        np.clip(weight, -QMAX, QMAX).astype(np.int8),
        np.rint(bias / (in_scale * weight_scale)).astype(np.int32), multiplier, weight_scale)
    _check_range(result, in_max)
    return result


def quantize_graph(graph: Graph, scales: dict[str, float]) -> QuantGraph:
    """Return the graph in integers: symmetric int8, weights per output channel.

    Args:
        graph: the float decoder.
        scales: layer name -> real value of 1/127 of the outputs' range, for every linear, conv, convt and joints layer.

    Raises:
        ConfigError: a scale is missing or unusable, the integers would overflow, or no linear layer reads the joints.
    """
    shapes(graph)
    if len(graph.layers) < 2 or graph.layers[1].kind != "linear":
        raise ConfigError("an integer graph's second layer has to be linear: it reads joints in 16 bits")
    layers: list[QuantLayer] = []
    scale = 1.0
    for index, layer in enumerate(graph.layers):
        if layer.kind in (*WEIGHTED, "joints") and layer.name not in scales:
            raise ConfigError(f"no output scale for layer {layer.name}", "Calibrate the graph that is being quantized")
        if layer.kind in WEIGHTED:
            out = float(np.float32(scales[layer.name]))
            in_max = JOINT_MAX if index == 1 else QMAX
            layers.append(quantize_layer(layer, scale, out, in_max))
        else:
            joints = scales.get(layer.name, 1.0) * QMAX / JOINT_MAX
            out = {"sincos": float(SINCOS_SCALE), "joints": float(np.float32(joints))}.get(layer.kind, scale)
            if not (np.isfinite(out) and out > 0):
                raise ConfigError(f"layer {layer.name} has the output scale {out}, expected a positive number")
            layers.append(QuantLayer(layer.kind, layer.name, dict(layer.attrs), scale, out))
        scale = out
    return QuantGraph(graph.n_joints, graph.n_views, graph.height, graph.width, tuple(layers), graph.depth)


def requantize(acc: NDArray[np.int64], multiplier: NDArray[np.int32], shift: int, relu: bool) -> I8:
    """Return clip((acc * multiplier + 2^(shift-1)) >> shift) for acc (N, C, H, W)."""
    y = (acc * multiplier.astype(np.int64)[:, None, None] + (1 << (shift - 1))) >> shift
    return np.asarray(np.clip(y, 0 if relu else -QMAX, QMAX), dtype=np.int8)


def integer_taps(size_in: int, size_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Return the two inputs of every output of one axis, and the second one's weight in 1/256."""
    first, second, fraction = resize_taps(size_in, size_out)
    weight: NDArray[np.int32] = np.rint(fraction * RESIZE_ONE).astype(np.int32)
    return first, second, weight


def _resize(x: I8, height: int, width: int) -> I8:
    y0, y1, wy = integer_taps(x.shape[2], height)
    x0, x1, wx = integer_taps(x.shape[3], width)
    v = x.astype(np.int32)
    rows = v[..., x0] * (RESIZE_ONE - wx) + v[..., x1] * wx
    y: Array = rows[:, :, y0] * (RESIZE_ONE - wy)[:, None] + rows[:, :, y1] * wy[:, None]
    return np.asarray((y + (1 << 15)) >> 16, dtype=np.int8)


def _upconv(resize: QuantLayer, layer: QuantLayer, x: I8) -> I8:
    """Convolve, then enlarge: with the rounding of docs/formats.md, "Integer arithmetic"."""
    assert layer.weight is not None and layer.bias is not None and layer.multiplier is not None  # noqa: PT018
    height, width = resize.attrs["height"], resize.attrs["width"]
    shift = upconv_shift(layer.weight)
    y0, y1, fy = fine_taps(x.shape[2], height)
    x0, x1, fx = fine_taps(x.shape[3], width)
    acc = np.zeros((len(x), len(layer.bias), height, width), dtype=np.int64)
    for ky in range(3):
        rows = np.zeros((*acc.shape[:2], x.shape[2], width), dtype=np.int64)
        for kx in range(3):
            stamp = conv(x.astype(np.float64), layer.weight[:, :, ky : ky + 1, kx : kx + 1].astype(np.float64), 0)
            stamp = (stamp.astype(np.int64) + (1 << shift >> 1)) >> shift
            wide = stamp[..., x0] + _scaled(stamp[..., x1] - stamp[..., x0], fx)
            to, of = _shifted(kx, width)
            rows[..., to] += wide[..., of]
        tall = rows[:, :, y0] + _scaled(rows[:, :, y1] - rows[:, :, y0], fy[:, None])
        to, of = _shifted(ky, height)
        acc[:, :, to] += tall[:, :, of]
    bias = (layer.bias.astype(np.int64) + (1 << shift >> 1)) >> shift
    total = np.clip(acc + np.clip(bias, -(2**15 - 1), 2**15 - 1)[:, None, None], -(2**15), 2**15 - 1)
    y = _scaled(total, fine_multiplier(layer, shift)[:, None, None])
    return np.asarray(np.clip(y, 0 if layer.attrs.get("relu") else -QMAX, QMAX), dtype=np.int8)


def _scaled(x: Array, y: Array) -> Array:
    """(x * y + 2^14) >> 15."""
    scaled: Array = (x * y + (1 << 14)) >> 15
    return scaled


def fine_taps(size_in: int, size_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the two inputs of every output of one axis, and the second one's weight in 1/2^15."""
    first, second, fraction = resize_taps(size_in, size_out)
    fine = np.floor(fraction.astype(np.float32) * np.float32(2**15) + np.float32(0.5)).astype(np.int64)
    return first, second, np.minimum(fine, 2**15 - 1)


def fine_multiplier(layer: QuantLayer, shift: int) -> NDArray[np.int64]:
    """Return the multipliers in 1/2^15 of sums that were shifted already."""
    assert layer.multiplier is not None
    right, multiplier = layer.shift - 15 - shift, layer.multiplier.astype(np.int64)
    fine: NDArray[np.int64] = (multiplier + (1 << right >> 1)) >> right if right > 0 else multiplier << -right
    return np.asarray(np.minimum(fine, 2**15 - 1), dtype=np.int64)


def _shifted(place: int, size: int) -> tuple[slice, slice]:
    """The outputs i of an axis that see i + place - 1 inside the picture, and what they see."""
    return slice(max(0, 1 - place), size - max(0, place - 1)), slice(max(0, place - 1), size - max(0, 1 - place))


def _weighted(layer: QuantLayer, x: I8) -> I8:
    assert layer.weight is not None and layer.bias is not None and layer.multiplier is not None  # noqa: PT018
    # float64 holds every partial sum of these integers exactly (below 2^53), and its products are fast.
    v, w, a = x.astype(np.float64), layer.weight.astype(np.float64), layer.attrs
    if layer.kind == "linear":
        acc = (v.reshape(len(v), -1) @ w.T)[:, :, None, None]
    elif layer.kind == "conv":
        acc = conv(v, w, a["pad"])
    else:
        acc = convt(v, w, a["stride"], a["pad"])
    total = acc.astype(np.int64) + layer.bias.astype(np.int64)[:, None, None]
    return requantize(total, layer.multiplier, layer.shift, bool(a.get("relu")))


def apply_int8(layer: QuantLayer, x: Array) -> Array:
    """Return a layer's integer outputs (N, C, H, W) for its inputs; the first layer's are (N, J) rad."""
    a = layer.attrs
    if layer.kind == "sincos":
        return quantize_joints(sincos(x), layer.out_scale)[:, :, None, None]
    if layer.kind == "joints":
        return quantize_joints(x, layer.out_scale)[:, :, None, None]
    if layer.kind == "reshape":
        return x.reshape(len(x), a["channels"], a["height"], a["width"])
    if layer.kind == "pixel_shuffle":
        return pixel_shuffle(x, a["factor"])
    if layer.kind == "resize":
        return _resize(x, a["height"], a["width"])
    if layer.kind == "crop":
        return x[:, :, : a["height"], : a["width"]]
    return _weighted(layer, x)


def outputs_int8(graph: QuantGraph, q: Array) -> Iterator[tuple[QuantLayer, Array]]:
    """Yield every layer with its integer outputs (N, ...), one after the other; a resize that the convolution behind it
    takes in has none.

    Args:
        graph: the quantized decoder.
        q: (N, J) rad.
    """
    x: Array = np.asarray(q, dtype=np.float32)
    resize: QuantLayer | None = None  # waits for the convolution that follows
    for layer, after in zip(graph.layers, (*graph.layers[1:], None), strict=True):
        if after is not None and upconv(layer, after, x.shape[1:]):
            resize = layer
            continue
        x, resize = apply_int8(layer, x) if resize is None else _upconv(resize, layer, x), None
        yield layer, x


def forward_int8(graph: QuantGraph, q: Array) -> I8:
    """Return the integer logits of the graph.

    Args:
        graph: the quantized decoder.
        q: (N, J) rad.

    Returns:
        (N, V, H, W) int8 in units of `graph.out_scale`.
    """
    out = np.empty((len(q), graph.n_views, graph.height, graph.width), dtype=np.int8)
    for i in range(0, len(q), CHUNK):
        for _, x in outputs_int8(graph, q[i : i + CHUNK]):
            last = x
        out[i : i + CHUNK] = last[:, : graph.n_views]
    return out
