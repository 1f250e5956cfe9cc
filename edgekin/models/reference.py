"""The graph evaluated in numpy: the slow, obvious twin that every engine is checked against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError
from edgekin.models.body_graph import BodyGraph
from edgekin.models.field_graph import FieldGraph
from edgekin.models.graph import F32, Graph, Layer

Array = NDArray[Any]
Shape = tuple[int, int, int]

#: Frames evaluated at once: bounds the memory of the largest feature map.
CHUNK = 32

# Taylor coefficients 1/3!, 1/5! ... and 1/2!, 1/4! ...: at |r| <= pi/4 the first term left out is below 3e-14.
_SIN = [-1.0 / 6.0, 1.0 / 120.0, -1.0 / 5040.0, 1.0 / 362880.0, -1.0 / 39916800.0, 1.0 / 6227020800.0]
_COS = [-0.5, 1.0 / 24.0, -1.0 / 720.0, 1.0 / 40320.0, -1.0 / 3628800.0, 1.0 / 479001600.0, -1.0 / 87178291200.0]


def _horner(coefficients: list[float], t: Array) -> Array:
    value = np.full_like(t, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = value * t + c
    return value


def sincos(q: Array) -> F32:
    """Return the sines, then the cosines of joint angles, by the polynomial that every engine uses.

    Args:
        q: (N, J) rad.

    Returns:
        (N, 2J) float32; the same bits on every engine.
    """
    x = np.asarray(q, dtype=np.float32).astype(np.float64)
    n = np.rint(x * (2.0 / np.pi))
    r = x - n * (np.pi / 2.0)
    t = r * r
    s = r + r * (t * _horner(_SIN, t))
    c = 1.0 + t * _horner(_COS, t)
    k = n.astype(np.int64) & 3
    sin = np.choose(k, [s, c, -s, -c])
    cos = np.choose(k, [c, -s, -c, s])
    return np.concatenate([sin, cos], axis=1).astype(np.float32)


def conv(x: Array, weight: Array, pad: int) -> Array:
    """Return the 2-D cross-correlation with stride 1 of x (N, I, H, W) and weight (O, I, k, k), in x's dtype."""
    n, _, height, width = x.shape
    out_c, _, k, _ = weight.shape
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    h, w = height + 2 * pad - k + 1, width + 2 * pad - k + 1
    y = np.zeros((n, out_c, h * w), dtype=x.dtype)
    for ky in range(k):
        for kx in range(k):
            y += weight[:, :, ky, kx] @ x[:, :, ky : ky + h, kx : kx + w].reshape(n, -1, h * w)
    return y.reshape(n, out_c, h, w)


def convt(x: Array, weight: Array, stride: int, pad: int) -> Array:
    """Return torch's ConvTranspose2d of x (N, I, H, W) and weight (I, O, k, k): every input pixel stamps the kernel."""
    n, in_c, height, width = x.shape
    _, out_c, k, _ = weight.shape
    full = np.zeros((n, out_c, (height - 1) * stride + k, (width - 1) * stride + k), dtype=x.dtype)
    flat = x.reshape(n, in_c, -1)
    for ky in range(k):
        for kx in range(k):
            stamp = (weight[:, :, ky, kx].T @ flat).reshape(n, out_c, height, width)
            full[:, :, ky : ky + height * stride : stride, kx : kx + width * stride : stride] += stamp
    return full[:, :, pad : full.shape[2] - pad, pad : full.shape[3] - pad]


def pixel_shuffle(x: Array, factor: int) -> Array:
    """Return torch's PixelShuffle of x (N, C f f, H, W): (N, C, H f, W f)."""
    n, c, h, w = x.shape
    y = x.reshape(n, c // factor**2, factor, factor, h, w).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(n, c // factor**2, h * factor, w * factor)


def resize_taps(size_in: int, size_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return for every output index of one axis the two input indices and the fraction of the second.

    Source: torch.nn.functional.interpolate, bilinear, align_corners=False.
    """
    source = np.maximum((np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5, 0.0)
    first = np.minimum(np.floor(source).astype(np.int64), size_in - 1)
    return first, np.minimum(first + 1, size_in - 1), source - first


def _resize(x: F32, height: int, width: int) -> F32:
    y0, y1, fy = resize_taps(x.shape[2], height)
    x0, x1, fx = resize_taps(x.shape[3], width)
    wy, wx = fy.astype(np.float32)[:, None], fx.astype(np.float32)
    rows = x[:, :, y0] * (1 - wy) + x[:, :, y1] * wy
    return np.asarray(rows[..., x0] * (1 - wx) + rows[..., x1] * wx, dtype=np.float32)


def step(layer: Layer, x: F32) -> F32:
    """Return what one layer makes of x (N, C, H, W); the first one takes joint angles (N, J, 1, 1) rad."""
    a, w = layer.attrs, layer.weight
    if layer.kind == "joints":
        return x
    if layer.kind == "sincos":
        return sincos(x.reshape(len(x), -1))[:, :, None, None]
    if layer.kind == "reshape":
        return x.reshape(len(x), a["channels"], a["height"], a["width"])
    if layer.kind == "pixel_shuffle":
        return pixel_shuffle(x, a["factor"])
    if layer.kind == "resize":
        return _resize(x, a["height"], a["width"])
    if layer.kind == "crop":
        return x[:, :, : a["height"], : a["width"]]
    assert w is not None and layer.bias is not None  # noqa: PT018 - shapes() has checked both
    if layer.kind == "linear":
        y = (x.reshape(len(x), -1) @ w.T)[:, :, None, None]
    elif layer.kind == "conv":
        y = conv(x, w, a["pad"])
    else:
        y = convt(x, w, a["stride"], a["pad"])
    y = y + layer.bias[:, None, None]
    return np.asarray(np.maximum(y, 0) if a.get("relu") else y, dtype=np.float32)


def _weighted_shape(layer: Layer, shape: Shape) -> Shape:
    c, h, w = shape
    weight, bias, a = layer.weight, layer.bias, layer.attrs
    if weight is None or bias is None or weight.ndim != (2 if layer.kind == "linear" else 4):
        raise ConfigError(f"layer {layer.name} ({layer.kind}) needs a weight and a bias of its kind's rank")
    out_axis, in_axis = (1, 0) if layer.kind == "convt" else (0, 1)
    expected = c * h * w if layer.kind == "linear" else c
    if weight.shape[in_axis] != expected or bias.shape != (weight.shape[out_axis],):
        raise ConfigError(f"layer {layer.name} has weight {weight.shape} and bias {bias.shape}, not {expected} inputs")
    if layer.kind == "linear":
        return weight.shape[0], 1, 1
    k = weight.shape[2]
    if layer.kind == "conv":
        return weight.shape[0], h + 2 * a["pad"] - k + 1, w + 2 * a["pad"] - k + 1
    return weight.shape[1], (h - 1) * a["stride"] - 2 * a["pad"] + k, (w - 1) * a["stride"] - 2 * a["pad"] + k


def _shape(layer: Layer, shape: Shape) -> Shape:
    c, h, w = shape
    a = layer.attrs
    if layer.kind in ("linear", "conv", "convt"):
        return _weighted_shape(layer, shape)
    if layer.kind == "sincos":
        return 2 * c, 1, 1
    if layer.kind == "joints":
        return shape
    if layer.kind == "reshape":
        out: Shape = (a["channels"], a["height"], a["width"])
        if np.prod(out) != np.prod(shape):
            raise ConfigError(f"layer {layer.name} reshapes {shape} to {out}: the sizes differ")
        return out
    if layer.kind == "pixel_shuffle":
        f = a["factor"]
        if c % f**2:
            raise ConfigError(f"layer {layer.name} shuffles {c} channels by {f}: not a multiple of {f**2}")
        return c // f**2, h * f, w * f
    if layer.kind == "resize":
        return c, a["height"], a["width"]
    if layer.kind == "crop":
        if a["height"] > h or a["width"] > w:
            raise ConfigError(f"layer {layer.name} crops {shape} to {a['height']}x{a['width']}")
        return c, a["height"], a["width"]
    raise ConfigError(f"layer {layer.name} has the unknown kind {layer.kind!r}")


def shapes(graph: Graph) -> list[Shape]:
    """Return the input's and then every layer's output shape (C, H, W), checking the graph whole.

    Raises:
        ConfigError: a layer does not fit the one before it, or the last one does not yield (V, H, W).
    """
    if not graph.layers or graph.layers[0].kind not in ("sincos", "joints"):
        raise ConfigError("a graph begins with a layer of kind sincos or joints")
    sizes: list[Shape] = [(graph.n_joints, 1, 1)]
    for i, layer in enumerate(graph.layers):
        if i and layer.kind in ("sincos", "joints"):
            raise ConfigError(f"layer {layer.name} ({layer.kind}) can only be the first")
        sizes.append(_shape(layer, sizes[-1]))
        if min(sizes[-1]) < 1:
            raise ConfigError(f"layer {layer.name} yields the empty shape {sizes[-1]}")
    if sizes[-1] != (graph.n_maps, graph.height, graph.width):
        raise ConfigError(f"the graph yields {sizes[-1]}, expected {(graph.n_maps, graph.height, graph.width)}")
    return sizes


def activations(graph: Graph, q: Array) -> Iterator[tuple[str, F32]]:
    """Yield (layer name, output) of every layer for joint angles q.

    Args:
        graph: the decoder.
        q: (N, J) rad.

    Yields:
        The name and its (N, C, H, W) float32 output; vectors are (N, C, 1, 1).
    """
    x = np.asarray(q, dtype=np.float32)[:, :, None, None]
    for layer in graph.layers:
        x = step(layer, x)
        yield layer.name, x


def forward(graph: Graph, q: Array) -> F32:
    """Return the logits of the graph.

    Args:
        graph: the decoder.
        q: (N, J) rad.

    Returns:
        (N, V, H, W) float32, natural-log odds.

    Raises:
        ConfigError: the graph is inconsistent, or q has another number of joints.
    """
    return maps(graph, q)[:, : graph.n_views]


def depth(graph: Graph, q: Array) -> F32:
    """Return the depth (N, V, H, W) float32 m of a graph that has a head for it; raises ConfigError for others."""
    if graph.depth is None:
        raise ConfigError("the graph has no depth head", "Train with --model resneurokin-d")
    numbers = maps(graph, q)[:, graph.n_views :]
    return np.asarray(np.float32(graph.depth.offset_m) + np.float32(graph.depth.unit_m) * numbers, dtype=np.float32)


def maps(graph: Graph, q: Array) -> F32:
    """Return all that the last layer yields.

    Args:
        graph: the decoder.
        q: (N, J) rad.

    Returns:
        (N, graph.n_maps, H, W) float32: logits, then the depth head's numbers.

    Raises:
        ConfigError: the graph is inconsistent, or q has another number of joints.
    """
    shapes(graph)
    q = np.asarray(q, dtype=np.float32)
    if q.ndim != 2 or q.shape[1] != graph.n_joints:
        raise ConfigError(f"joint angles have the shape {q.shape}, expected (N, {graph.n_joints})")
    out = np.empty((len(q), graph.n_maps, graph.height, graph.width), dtype=np.float32)
    for i in range(0, len(q), CHUNK):
        *_, (_, last) = activations(graph, q[i : i + CHUNK])
        out[i : i + CHUNK] = last
    return out


def count(graph: Graph | BodyGraph | FieldGraph) -> tuple[int, int]:
    """Return (parameters, multiply-accumulates of one frame); a transposed convolution counts every stamped product."""
    if isinstance(graph, BodyGraph | FieldGraph):
        return graph.count()
    parameters = macs = 0
    for layer, (_, h_in, w_in), (_, h_out, w_out) in zip(graph.layers, shapes(graph), shapes(graph)[1:], strict=False):
        if layer.weight is None or layer.bias is None:
            continue
        parameters += layer.weight.size + layer.bias.size
        macs += layer.weight.size * {"linear": 1, "conv": h_out * w_out, "convt": h_in * w_in}[layer.kind]
    return parameters, macs
