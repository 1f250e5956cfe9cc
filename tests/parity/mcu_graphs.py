"""Small integer decoders of random layers, as many kinds as the kernels for microcontrollers have."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from edgekin.models.graph import Graph, Layer
from edgekin.quantization.qgraph import QuantGraph, quantize_graph
from tests.parity.graphs import calibrated, enlarged, weighted

KINDS = ("conv", "convt", "resize", "pixel_shuffle", "crop", "linear", "reshape")


def integer_graph(seed: int) -> QuantGraph:
    """A decoder by its number: every eighth has an enlarged map that is convolved, every fifth is sparse, and of every
    third's map most cells have no weights."""
    rng = np.random.default_rng(seed)
    if seed % 8 == 7:
        graph = enlarged(rng, int(rng.integers(1, 20)), int(rng.integers(1, 10)), int(rng.integers(0, 2)))
    else:
        graph = _graph(rng)
    q = rng.uniform(-3, 3, (16, graph.n_joints)).astype(np.float32)
    if seed % 5 == 4:
        graph = replace(graph, layers=tuple(_thinned(rng, layer, i) for i, layer in enumerate(graph.layers)))
    if seed % 3 == 2:
        graph = replace(graph, layers=tuple(map(partial(_silent, rng), graph.layers, (*graph.layers[1:], None))))
    return quantize_graph(graph, calibrated(graph, q))


def loud_graph() -> QuantGraph:
    """A decoder whose sums are too large to be packed, in a linear layer and in a convolution."""
    rng = np.random.default_rng(1)

    def loud(layer: Layer) -> Layer:
        return replace(layer, weight=np.sign(layer.weight).astype(np.float32))

    layers = (Layer("sincos", "in"), weighted(rng, "linear", "wide", (900, 4), relu=1),
              loud(weighted(rng, "linear", "loud", (240, 900), relu=1)),
              Layer("reshape", "map", {"channels": 60, "height": 2, "width": 2}),
              loud(weighted(rng, "conv", "loud_conv", (6, 60, 4, 4), pad=2, relu=0)),
              weighted(rng, "conv", "head", (1, 6, 1, 1), pad=0, relu=0))
    graph = Graph(2, 1, 3, 3, layers)
    return quantize_graph(graph, calibrated(graph, rng.uniform(-3, 3, (16, 2)).astype(np.float32)))


def _graph(rng: np.random.Generator) -> Graph:
    joints, first = int(rng.integers(1, 6)), str(rng.choice(["sincos", "joints"]))
    layers, width = [Layer(first, "in")], joints * (2 if first == "sincos" else 1)
    for i in range(int(rng.integers(1, 4))):
        out = int(rng.integers(1, 60))
        layers.append(weighted(rng, "linear", f"linear{i}", (out, width), relu=int(rng.integers(0, 2))))
        width = out
    size = tuple(int(n) for n in rng.integers(1, 6, 3))
    layers.append(weighted(rng, "linear", "seam", (int(np.prod(size)), width), relu=int(rng.integers(0, 2))))
    layers.append(Layer("reshape", "map", dict(zip(("channels", "height", "width"), size, strict=True))))
    for i in range(int(rng.integers(1, 4))):
        layer, size = _spatial(rng, str(rng.choice(KINDS)), f"layer{i}", size)
        layers.append(layer)
    head = int(rng.integers(1, 4))
    layers.append(weighted(rng, "conv", "head", (head, size[0], 1, 1), pad=0, relu=0))
    return Graph(joints, head, *size[1:], tuple(layers))


def _spatial(rng: np.random.Generator, kind: str, name: str,
             size: tuple[int, int, int]) -> tuple[Layer, tuple[int, int, int]]:
    """A layer of a kind on a map (C, H, W), or another kind where that does not fit, and what it yields."""
    c, h, w = size
    out, relu = int(rng.integers(1, 12)), int(rng.integers(0, 2))
    if kind == "conv":
        k = int(rng.integers(1, min(4, h + 2, w + 2)))
        pad = int(rng.integers(0, k))
        if min(h, w) + 2 * pad >= k:
            return (weighted(rng, "conv", name, (out, c, k, k), pad=pad, relu=relu),
                    (out, h + 2 * pad - k + 1, w + 2 * pad - k + 1))
    if kind == "convt":
        k, stride = int(rng.integers(1, 6)), int(rng.integers(1, 4))
        pad = int(rng.integers(0, k))
        shape = tuple((n - 1) * stride - 2 * pad + k for n in (h, w))
        if min(shape) >= 1:
            return weighted(rng, "convt", name, (c, out, k, k), stride=stride, pad=pad, relu=relu), (out, *shape)
    if kind == "pixel_shuffle" and c % 4 == 0:
        return Layer("pixel_shuffle", name, {"factor": 2}), (c // 4, 2 * h, 2 * w)
    if kind == "crop":
        to = int(rng.integers(1, h + 1)), int(rng.integers(1, w + 1))
        return Layer("crop", name, {"height": to[0], "width": to[1]}), (c, *to)
    if kind == "linear":
        units = int(rng.integers(1, 40))
        return weighted(rng, "linear", name, (units, c * h * w), relu=relu), (units, 1, 1)
    if kind == "reshape":
        return Layer("reshape", name, {"channels": h, "height": w, "width": c}), (h, w, c)
    to = tuple(int(n) for n in rng.integers(1, 9, 2))
    return Layer("resize", name, {"height": to[0], "width": to[1]}), (c, *to)


def _silent(rng: np.random.Generator, layer: Layer, after: Layer | None) -> Layer:
    """A layer that fills a map, without weights for most cells, whose biases a ReLU never lets through."""
    if layer.kind != "linear" or after is None or after.kind != "reshape" or layer.weight is None or layer.bias is None:
        return layer
    cells = after.attrs["height"] * after.attrs["width"]
    awake = np.tile(np.arange(cells) == int(rng.integers(cells)), after.attrs["channels"])
    return replace(layer, weight=layer.weight * awake[:, None], bias=np.where(awake, layer.bias, -1).astype(np.float32))


def _thinned(rng: np.random.Generator, layer: Layer, index: int) -> Layer:
    """A linear layer behind the first with most of its blocks of 4 x 16 weights zero; others as they are."""
    if layer.kind != "linear" or index < 2 or layer.weight is None:
        return layer
    rows, inputs = layer.weight.shape
    kept = rng.random((-(-rows // 4), -(-inputs // 16))) < 0.3
    return replace(layer, weight=layer.weight * np.kron(kept, np.ones((4, 16)))[:rows, :inputs].astype(np.float32))
