"""Let silent units of the first layer share the work of those whose int8 steps harm most: the network keeps its size.

A unit and its copies, whose biases lie fractions of a step apart, round at different places, so that the mean of k of
them is rounded to a k-th of a step. Source: Zhao et al., Outlier Channel Splitting (2019), quantization-aware
splitting, which splits weights so.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import Array
from edgekin.quantization.affine import Q_MAX
from edgekin.quantization.samples import peaks

#: More would be read for little: what harms comes from a few units of the first linear layer, which sees smooth sines
#: and is read by everything. (seed_arm's neurokin: half of it from 11 of 128.)
MOST_COPIES = 16


def shared(graph: Graph, joint_pos: Array) -> Graph:
    """Return the same function, up to a fraction of a step, with silent units of the first linear layer in use.

    Args:
        graph: the float decoder, its channels' ranges alike.
        joint_pos: (N, J) rad, the calibration poses.
    """
    if len(graph.layers) < 3:
        return graph
    first, layer, reader, *rest = graph.layers
    if not layer.kind == reader.kind == "linear" or not layer.attrs.get("relu"):
        return graph
    only = replace(graph, layers=(first, layer))
    return replace(graph, layers=(first, *_shared(layer, reader, peaks(only, joint_pos)[layer.name]), *rest))


def _shared(layer: Layer, reader: Layer, largest: NDArray[np.float64]) -> tuple[Layer, Layer]:
    """The two layers with the silent units between them, whose `largest` (out,) is 0, made copies of others."""
    assert layer.weight is not None and layer.bias is not None and reader.weight is not None  # noqa: PT018
    harm = np.square(reader.weight).sum(axis=0) * (largest > 0)
    if not harm.any():
        return layer, reader
    of = np.arange(len(largest))  # whose work each unit does
    copies = np.ones(len(largest))
    for silent in np.flatnonzero(largest == 0)[:MOST_COPIES]:
        gain = harm * (copies**-2 - (copies + 1) ** -2)
        of[silent] = gain.argmax()
        copies[of[silent]] += 1
    weight, bias, read = layer.weight[of], layer.bias[of].astype(np.float64), reader.weight[:, of] / copies[of]
    step = largest.max() / Q_MAX
    for unit in np.flatnonzero(copies > 1):
        k = int(copies[unit])
        bias[of == unit] += step * ((np.arange(k) + 0.5) / k - 0.5)
    return (replace(layer, weight=weight, bias=bias.astype(np.float32)),
            replace(reader, weight=read.astype(np.float32)))
