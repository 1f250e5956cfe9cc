"""Rounding weights together: on a grid, and closer to the float network."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import activations, forward
from edgekin.quantization import rounding
from edgekin.quantization.calibrate import fidelity_db
from edgekin.quantization.qgraph import quantize_graph
from edgekin.quantization.rounding import COARSEST, rounded
from tests.parity.graphs import calibrated, weighted


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


def test_rounded_weights_lie_on_the_grid_that_the_layer_tells(graph):
    for before, after in zip(graph.layers, rounded(graph, poses(1)).layers, strict=True):
        if after.weight is None:
            continue
        rows, wanted = (layer.weight.reshape(len(layer.weight), -1).astype(np.float64) for layer in (after, before))
        levels = rows / after.weight_scale[:, None]
        assert np.allclose(levels, np.rint(levels), atol=1e-3)
        assert np.abs(levels).max() < 127.5
        finest = np.abs(wanted).max(axis=1) / 127
        assert np.all((finest * 0.999 <= after.weight_scale) & (after.weight_scale <= COARSEST * finest * 1.001))


def test_the_integer_network_has_just_these_levels(graph):
    after = rounded(graph, poses(1))
    quantized = quantize_graph(after, calibrated(after, poses(1)))
    for layer, integers in zip(after.layers, quantized.layers, strict=True):
        if layer.weight is not None:
            scale = layer.weight_scale.reshape((-1,) + (1,) * (layer.weight.ndim - 1))
            assert np.allclose(integers.weight * scale, layer.weight, rtol=1e-4)


def test_few_inputs_choose_among_many_scales(graph):
    """Six inputs: of 256 grids some lie much nearer to the weights than the finest."""
    unseen = poses(2)
    expected = next(y for name, y in activations(graph, unseen) if name == "linear0")
    finest = replace(graph.layers[1], weight=nearest(graph).layers[1].weight)
    errors = []
    for layer in (finest, rounded(graph, poses(1)).layers[1]):
        changed = replace(graph, layers=(graph.layers[0], layer, *graph.layers[2:]))
        output = next(y for name, y in activations(changed, unseen) if name == "linear0")
        errors.append(np.square(output - expected).mean())
    assert errors[1] < 0.4 * errors[0]


def test_blocks_pass_on_what_one_input_after_another_would(monkeypatch):
    rng = np.random.default_rng(8)
    weight, rows = rng.normal(size=(5, 150)), rng.normal(size=(400, 150)) @ rng.normal(size=(150, 150))
    covariance, scale = rows.T @ rows / 400, np.abs(weight).max(axis=1) / 127
    together = rounding._together(weight, scale, covariance)
    monkeypatch.setattr(rounding, "BLOCK", 150)
    assert np.mean(rounding._together(weight, scale, covariance) == together) > 0.99  # ties round as sums fall out
    alone = np.rint(weight / scale[:, None])
    errors = [np.einsum("ij,jk,ik->", d, covariance, d)
              for d in ((levels * scale[:, None] - weight) for levels in (together, alone))]
    assert errors[0] < 0.5 * errors[1]


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
