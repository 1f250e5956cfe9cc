"""Round the weights of a layer together instead of one by one, so that what one loses its neighbours make up for.

Source: Frantar et al., GPTQ (2022), section 3: the error of each rounded input is spread over the inputs that
are still to be rounded, by the inverse of the second moments of the inputs. The means that are left over go into the
bias, so the moments are taken about them. Each output tries several scales for its weights, and keeps the best.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import CHUNK, Array
from edgekin.quantization.affine import Q_MAX
from edgekin.quantization.samples import MAP_POSES, chunks

Float = NDArray[np.float64]

#: More inputs than this, and layers whose inputs are not rows of a matrix (transposed convolutions), are left alone.
MOST_INPUTS = 1100
#: Windows looked at, of all maps: some hundreds for each of their inputs would change little.
MOST_ROWS = 20_000
#: Added to the diagonal, of its mean: inputs that never vary say nothing.
DAMPING = 1e-3
#: The scales tried lie between max-abs / 127 and so much more, where the best few of many make up for coarser steps.
COARSEST = 2.0
#: At most so many, and so much work (inputs^2 * outputs): with few inputs it pays, with hundreds all are alike.
MOST_SCALES, MOST_WORK = 256, 2e7
#: Inputs rounded before what they left over is passed on to all the others at once.
BLOCK = 64


def rounded(graph: Graph, joint_pos: Array) -> Graph:
    """Return the graph with its weights on int8 grids, whose steps `Layer.weight_scale` gives.

    Args:
        graph: the float decoder.
        joint_pos: (N, J) rad, the calibration poses.
    """
    moments: dict[str, _Moments] = {}
    for steps in chunks(graph, joint_pos):
        for layer, x, _ in steps:
            if _inputs(layer) <= MOST_INPUTS:
                moments.setdefault(layer.name, _Moments(_inputs(layer))).add(_rows(layer, x))
    layers = (_rounded(layer, moments[layer.name]) if layer.name in moments else layer for layer in graph.layers)
    return replace(graph, layers=tuple(layers))


def _inputs(layer: Layer) -> float:
    """How many inputs each output has; infinite where they are not rows of a matrix."""
    if layer.kind not in ("linear", "conv") or layer.weight is None:
        return float("inf")
    return int(np.prod(layer.weight.shape[1:]))


class _Moments:
    """Mean and covariance of rows that come in parts."""

    def __init__(self, n_inputs: float) -> None:
        self.n = 0
        self.sum = np.zeros(int(n_inputs))
        self.products = np.zeros((int(n_inputs), int(n_inputs)))

    def add(self, rows: Float) -> None:
        self.n += len(rows)
        self.sum += rows.sum(axis=0)
        self.products += rows.T @ rows

    @property
    def mean(self) -> Float:
        return np.asarray(self.sum / self.n)

    @property
    def covariance(self) -> Float:
        """Damped, so that it can be inverted."""
        covariance = self.products / self.n - np.outer(self.mean, self.mean)
        damping = max(DAMPING * float(np.diag(covariance).mean()), 1e-12)
        return np.asarray(covariance + np.eye(len(covariance)) * damping)


def _rows(layer: Layer, x: Array) -> Float:
    """The inputs (N, n) of every output, in the order of the weights; of a map those of some places."""
    assert layer.weight is not None
    if layer.kind == "linear":
        return x.reshape(len(x), -1).astype(np.float64)
    k, pad = layer.weight.shape[2], layer.attrs["pad"]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))  # (N, C, H, W, k, k)
    n, c, h, w = windows.shape[:4]
    places = n * h * w
    some = np.random.default_rng(0).choice(places, min(places, MOST_ROWS * CHUNK // MAP_POSES), replace=False)
    frame, place = np.divmod(some, h * w)
    return windows[frame, :, place // w, place % w].reshape(len(some), c * k * k).astype(np.float64)


def _rounded(layer: Layer, moments: _Moments) -> Layer:
    assert layer.weight is not None and layer.bias is not None  # noqa: PT018
    weight = layer.weight.reshape(len(layer.weight), -1).astype(np.float64)
    levels, scale = _on_grid(weight, moments.covariance)
    grid = levels * scale[:, None]
    bias = layer.bias - (grid - weight) @ moments.mean
    return replace(layer, weight=grid.reshape(layer.weight.shape).astype(np.float32), bias=bias.astype(np.float32),
                   weight_scale=scale)


def _on_grid(weight: Float, covariance: Float) -> tuple[Float, Float]:
    """Return levels (out, n) in -127..127 and scales (out,) that stand for weights (out, n)."""
    out, n = weight.shape
    tried = int(np.clip(MOST_WORK / (n * n * out), 1, MOST_SCALES))
    finest = np.abs(weight).max(axis=1) / Q_MAX
    finest[finest == 0] = finest.max() if finest.max() > 0 else 1.0  # as edgekin.quantization.qgraph does
    scales = (finest * np.geomspace(1, COARSEST, tried)[:, None]).ravel()  # (tried * out,)
    wanted = np.tile(weight, (tried, 1))
    levels = _together(wanted, scales, covariance)
    off = levels * scales[:, None] - wanted
    error = np.einsum("ij,ij->i", off @ covariance, off).reshape(tried, out)
    best = error.argmin(axis=0) * out + np.arange(out)
    return levels[best], scales[best]


def _together(weight: Float, scale: Float, covariance: Float) -> Float:
    """Return levels (out, n): inputs that vary most first, each one's error spread over those that follow."""
    order = np.argsort(-np.diag(covariance), kind="stable")
    spread = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(order, order)])).T
    left, levels, error = weight[:, order], np.empty_like(weight), np.empty_like(weight)
    for start in range(0, len(order), BLOCK):
        stop = min(start + BLOCK, len(order))
        for i in range(start, stop):
            levels[:, i] = np.clip(np.rint(left[:, i] / scale), -Q_MAX, Q_MAX)
            error[:, i] = (left[:, i] - levels[:, i] * scale) / spread[i, i]
            left[:, i:stop] -= np.outer(error[:, i], spread[i, i:stop])
        left[:, stop:] -= error[:, start:stop] @ spread[start:stop, stop:]
    return np.asarray(levels[:, np.argsort(order)])
