"""Round the weights of a layer together instead of one by one, so that what one loses its neighbours make up for.

Source: Frantar et al., GPTQ (2022), section 3: the error of each rounded input is spread over the inputs that are still
to be rounded, by the inverse of the second moments of the inputs. The means that are left over go into the bias.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import Array, activations
from edgekin.quantization.qgraph import QMAX

#: More inputs than this, and layers whose inputs are not rows of a matrix (transposed convolutions), are left alone.
MOST_INPUTS = 1100
#: Rows of inputs looked at: some hundreds for each of MOST_INPUTS would change little.
MOST_ROWS = 20_000
#: Added to the diagonal, of its mean: inputs that never vary say nothing.
DAMPING = 0.01
POSES = 128


def rounded(graph: Graph, joint_pos: Array) -> Graph:
    """Return the graph with weights on the int8 grid that rounding to the nearest gives back.

    Args:
        graph: the float decoder.
        joint_pos: (N, J) rad, the calibration poses.
    """
    poses = joint_pos[:: max(1, len(joint_pos) // POSES)]
    layers: list[Layer] = []
    x: Array = np.asarray(poses, np.float32)[:, :, None, None]
    for layer, (_, y) in zip(graph.layers, activations(graph, poses), strict=True):
        layers.append(_rounded(layer, x))
        x = y
    return replace(graph, layers=tuple(layers))


def _rounded(layer: Layer, x: Array) -> Layer:
    if layer.kind not in ("linear", "conv") or layer.weight is None or layer.bias is None:
        return layer
    weight = layer.weight.reshape(len(layer.weight), -1).astype(np.float64)
    if weight.shape[1] > MOST_INPUTS:
        return layer
    rows = _rows(layer, x)
    grid = _on_grid(weight, rows)
    bias = layer.bias - (grid - weight) @ rows.mean(axis=0)
    return replace(layer, weight=grid.reshape(layer.weight.shape).astype(np.float32), bias=bias.astype(np.float32))


def _rows(layer: Layer, x: Array) -> NDArray[np.float64]:
    """The inputs (N, n) of every output, in the order of the weights; of a picture some outputs only."""
    if layer.kind == "linear":
        return x.reshape(len(x), -1).astype(np.float64)
    assert layer.weight is not None
    k, pad = layer.weight.shape[2], layer.attrs["pad"]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))  # (N, C, H, W, k, k)
    n, c, h, w = windows.shape[:4]
    some = np.random.default_rng(0).choice(n * h * w, min(n * h * w, MOST_ROWS), replace=False)
    frame, place = np.divmod(some, h * w)
    return windows[frame, :, place // w, place % w].reshape(len(some), c * k * k).astype(np.float64)


def _on_grid(weight: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (out, n) as multiples of each row's max-abs / 127."""
    scale = np.abs(weight).max(axis=1, keepdims=True) / QMAX
    scale[scale == 0] = 1.0
    moments = rows.T @ rows / len(rows)
    moments += np.eye(len(moments)) * max(DAMPING * float(np.diag(moments).mean()), 1e-12)
    spread = np.linalg.cholesky(np.linalg.inv(moments)).T
    left, levels = weight.copy(), np.empty_like(weight)
    for i in range(weight.shape[1]):
        levels[:, i] = np.clip(np.rint(left[:, i] / scale[:, 0]), -QMAX, QMAX)
        error = (left[:, i] - levels[:, i] * scale[:, 0]) / spread[i, i]
        left[:, i:] -= np.outer(error, spread[i, i:])
    # The largest weight keeps its level: it is what the scale is read off again.
    largest = np.abs(weight).argmax(axis=1)
    at = np.arange(len(weight))
    levels[at, largest] = np.rint(weight[at, largest] / scale[:, 0])
    return np.asarray(levels * scale)
