"""A linear layer and the convolution behind it, with no activation between, as the one linear layer that they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekin.models.graph import F32, Graph, Layer
from edgekin.models.reference import conv, convt, shapes

#: How many times the weights of both the one layer's may be: it is read sparsely, but it is stored whole.
MOST_WEIGHTS = 2.0


def merged(graph: Graph) -> Graph:
    """Return the graph with linear, reshape, (transposed) convolution made one linear layer where that is less work.

    The linear layer must stand behind a ReLU, most of whose outputs are zero: engines leave their weights unread, which
    they could not for the convolution, whose inputs are dense. The new layer has the convolution's name, so scales
    calibrated on the graph fit what this returns.
    """
    layers, sizes, i = list(graph.layers), shapes(graph), 0
    kept: list[Layer] = []
    while i < len(layers):
        if _pays(layers[max(0, i - 1) : i + 3], sizes[i + 2 : i + 4]):
            kept += _one(layers[i], layers[i + 2], sizes[i + 2], sizes[i + 3])
            i += 3
        else:
            kept.append(layers[i])
            i += 1
    return replace(graph, layers=tuple(kept))


def _pays(run: list[Layer], sizes: list[tuple[int, int, int]]) -> bool:
    """run: the layer before, linear, reshape, convolution; sizes: what the last two yield."""
    if [layer.kind for layer in run[:3]] != ["linear", "linear", "reshape"] or len(run) < 4:
        return False
    before, linear, _, window = run
    if window.kind not in ("conv", "convt") or not before.attrs.get("relu") or linear.attrs.get("relu"):
        return False
    assert linear.weight is not None and window.weight is not None  # noqa: PT018 - both kinds have weights
    weights = linear.weight.shape[1] * int(np.prod(sizes[1]))
    at = sizes[0] if window.kind == "convt" else sizes[1]
    macs = linear.weight.size + window.weight.size * at[1] * at[2]
    return bool(weights <= min(macs, MOST_WEIGHTS * (linear.weight.size + window.weight.size)))


def _one(linear: Layer, window: Layer, size_in: tuple[int, int, int], size_out: tuple[int, int, int]) -> list[Layer]:
    """The linear layer that does both, and the reshape to what the convolution yields."""
    assert linear.weight is not None and linear.bias is not None  # noqa: PT018 - shapes() has checked both
    assert window.weight is not None and window.bias is not None  # noqa: PT018
    columns = np.concatenate([linear.weight.T, linear.bias[None]]).astype(np.float64).reshape(-1, *size_in)
    a, kernel = window.attrs, window.weight.astype(np.float64)
    moved = conv(columns, kernel, a["pad"]) if window.kind == "conv" else convt(columns, kernel, a["stride"], a["pad"])
    flat: F32 = moved.reshape(len(moved), -1).astype(np.float32)
    bias = flat[-1] + np.repeat(window.bias, size_out[1] * size_out[2])
    shape = dict(zip(("channels", "height", "width"), size_out, strict=True))
    return [Layer("linear", window.name, {"relu": a.get("relu", 0)}, np.ascontiguousarray(flat[:-1].T), bias),
            Layer("reshape", f"{window.name}_reshape", shape)]
