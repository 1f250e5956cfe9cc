"""Give the channels behind a ReLU like ranges, so that the one scale they share in int8 suits all of them.

A ReLU commutes with a positive factor: what divides a channel's weights and bias multiplies the weights that read it,
and the network stays the same. Source: Nagel et al., Data-Free Quantization (2019), section 4.1; the exponent below is
the migration strength of Xiao et al., SmoothQuant (2022), section 4.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekin.models.graph import F32, Graph, Layer
from edgekin.models.reference import Array
from edgekin.quantization.qgraph import WEIGHTED
from edgekin.quantization.samples import peaks

#: How far ranges are made alike: 1 wholly, 0 not at all. It burdens the weights that read them, whose rounding a linear
#: layer with its many inputs makes up for better than a window. Of 0, 0.25, 0.5, 0.75 and 1, measured on neurokin of
#: sizes m and published (seed_arm).
LINEAR_STRENGTH, WINDOW_STRENGTH = 1.0, 0.5

#: A channel is enlarged at most so much: one that hardly ever speaks should not fill the range.
MOST = 32.0


def equalized(graph: Graph, joint_pos: Array) -> Graph:
    """Return the same function with the ranges of channels behind a ReLU made alike.

    Args:
        graph: the float decoder.
        joint_pos: (N, J) rad, the calibration poses.
    """
    layers, largest = list(graph.layers), peaks(graph, joint_pos)
    for at, reader in _pairs(layers):
        layers[at], layers[reader] = _balanced(layers[at], layers[reader], largest[layers[at].name])
    return replace(graph, layers=tuple(layers))


def _pairs(layers: list[Layer]) -> list[tuple[int, int]]:
    """Indices of layers with a ReLU, and of the layer that alone reads its channels, other steps between or not."""
    found = []
    for i, layer in enumerate(layers):
        if layer.kind not in WEIGHTED or not layer.attrs.get("relu"):
            continue
        reader = next((j for j in range(i + 1, len(layers)) if layers[j].kind not in ("reshape", "resize", "crop")), i)
        if layers[reader].kind in WEIGHTED and (layer.kind == "linear" or layers[reader].kind != "linear"):
            found.append((i, reader))
    return found


def _balanced(layer: Layer, reader: Layer, largest: NDArray[np.float64]) -> tuple[Layer, Layer]:
    """The two layers with the channels between them scaled; largest: (out,) of the first one's outputs."""
    assert layer.weight is not None and layer.bias is not None and reader.weight is not None  # noqa: PT018
    # Behind a reshape, several outputs make one channel: they share its factor.
    range_ = largest.reshape(reader.weight.shape[_axes(reader)[1]], -1).max(axis=1)
    alive = range_ > 0
    if not alive.any():
        return layer, reader
    strength = LINEAR_STRENGTH if reader.kind == "linear" else WINDOW_STRENGTH
    factor = np.ones_like(range_)
    factor[alive] = np.maximum(range_[alive] / range_.max(), 1 / MOST) ** strength
    wide = np.repeat(factor, len(largest) // len(range_))
    bias = (layer.bias / wide).astype(np.float32)
    return (replace(layer, weight=_scaled(layer.weight, 1 / wide, _axes(layer)[0]), bias=bias),
            replace(reader, weight=_scaled(reader.weight, factor, _axes(reader)[1])))


def _axes(layer: Layer) -> tuple[int, int]:
    """Of a layer's weights, the axes of its outputs and inputs."""
    return (1, 0) if layer.kind == "convt" else (0, 1)


def _scaled(weight: F32, factor: NDArray[np.float64], axis: int) -> F32:
    shape = [1] * weight.ndim
    shape[axis] = -1
    scaled: F32 = (weight * factor.reshape(shape)).astype(np.float32)
    return scaled
