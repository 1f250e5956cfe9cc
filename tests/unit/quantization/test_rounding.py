"""Rounding weights together: on the grid that rounding to the nearest gives back, and closer to the float network."""

import numpy as np
import pytest

from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import forward
from edgekin.quantization.calibrate import fidelity_db
from edgekin.quantization.rounding import rounded
from tests.parity.graphs import weighted


@pytest.fixture
def graph() -> Graph:
    rng = np.random.default_rng(0)
    layers = (Layer("sincos", "in"), weighted(rng, "linear", "linear0", (48, 6), relu=1),
              weighted(rng, "linear", "seam", (6 * 64, 48), relu=1),
              Layer("reshape", "reshape", {"channels": 6, "height": 8, "width": 8}),
              weighted(rng, "conv", "conv0", (8, 6, 3, 3), pad=1, relu=1),
              weighted(rng, "conv", "head", (1, 8, 3, 3), pad=1, relu=0))
    return Graph(3, 1, 8, 8, layers)


def nearest(graph: Graph) -> Graph:
    """The graph with every weight rounded by itself."""
    layers = []
    for layer in graph.layers:
        if layer.weight is not None:
            axes = tuple(range(1, layer.weight.ndim))
            scale = np.abs(layer.weight).max(axis=axes, keepdims=True) / 127
            layer = Layer(layer.kind, layer.name, layer.attrs, (np.rint(layer.weight / scale) * scale), layer.bias)
        layers.append(layer)
    return Graph(graph.n_joints, graph.n_views, graph.height, graph.width, tuple(layers))


def test_rounded_weights_lie_on_the_grid_that_is_read_off_them(graph):
    for before, after in zip(graph.layers, rounded(graph, poses(1)).layers, strict=True):
        if after.weight is None:
            continue
        axes = tuple(range(1, after.weight.ndim))
        scale = np.abs(after.weight).max(axis=axes, keepdims=True).astype(np.float64) / 127
        assert np.allclose(after.weight / scale, np.rint(after.weight / scale), atol=1e-3)
        assert np.allclose(scale, np.abs(before.weight).max(axis=axes, keepdims=True) / 127, rtol=1e-5)


def test_rounding_together_is_closer_to_the_float_network_on_poses_it_has_not_seen(graph):
    unseen = poses(2)
    expected = forward(graph, unseen)
    together, alone = forward(rounded(graph, poses(1)), unseen), forward(nearest(graph), unseen)
    assert fidelity_db(expected, together) > fidelity_db(expected, alone) + 1.0


def test_layers_without_weights_and_transposed_convolutions_are_left_alone():
    rng = np.random.default_rng(3)
    layers = (Layer("joints", "in"), weighted(rng, "linear", "seam", (4 * 9, 2), relu=1),
              Layer("reshape", "reshape", {"channels": 4, "height": 3, "width": 3}),
              weighted(rng, "convt", "up", (4, 1, 4, 4), stride=2, pad=1, relu=0))
    graph = Graph(2, 1, 6, 6, layers)
    after = rounded(graph, poses(4)[:, :2])
    assert after.layers[3] is graph.layers[3]
    assert after.layers[2] is graph.layers[2]


def poses(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, (256, 3)).astype(np.float32)
