"""Ranges made alike: the same function, and channels that use what int8 gives them."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import forward
from edgekin.quantization.calibrate import fidelity_db
from edgekin.quantization.equalize import LINEAR_STRENGTH, MOST, WINDOW_STRENGTH, equalized
from edgekin.quantization.qgraph import dequantize, forward_int8, quantize_graph
from edgekin.quantization.samples import peaks
from tests.parity.graphs import calibrated, weighted


def poses(seed, n=200):
    return np.random.default_rng(seed).uniform(-1.5, 1.5, (n, 3))


@pytest.fixture
def uneven() -> Graph:
    """A decoder whose channels' ranges differ by up to 20."""
    rng = np.random.default_rng(5)
    layers = [Layer("sincos", "in"), weighted(rng, "linear", "wide", (40, 6), relu=1),
              weighted(rng, "linear", "seam", (6 * 64, 40), relu=1),
              Layer("reshape", "reshape", {"channels": 6, "height": 8, "width": 8}),
              weighted(rng, "conv", "conv", (8, 6, 3, 3), pad=1, relu=1),
              weighted(rng, "conv", "head", (1, 8, 3, 3), pad=1, relu=0)]
    for i, n in ((1, 40), (4, 8)):
        factor = np.geomspace(1, 20, n).astype(np.float32)
        shape = (-1,) + (1,) * (layers[i].weight.ndim - 1)
        layers[i] = replace(layers[i], weight=layers[i].weight * factor.reshape(shape), bias=layers[i].bias * factor)
        reader = layers[i + 1]
        across = (1, -1) + (1,) * (reader.weight.ndim - 2)
        layers[i + 1] = replace(reader, weight=reader.weight / factor.reshape(across))
    return Graph(3, 1, 8, 8, tuple(layers))


def test_the_function_stays_the_same(graph):
    q = np.random.default_rng(1).uniform(-1.5, 1.5, (60, 4))
    assert np.allclose(forward(equalized(graph, q), q), forward(graph, q), rtol=1e-3, atol=1e-3)


def test_channels_that_a_linear_layer_reads_get_one_range_and_those_of_a_window_come_nearer(uneven):
    before, after = (peaks(g, poses(1)) for g in (uneven, equalized(uneven, poses(1))))
    speaking = before["wide"] > before["wide"].max() / MOST
    assert LINEAR_STRENGTH == 1.0
    assert np.allclose(after["wide"][speaking], before["wide"].max(), rtol=1e-3)
    spread = [values["conv"].max() / values["conv"].min() for values in (before, after)]
    assert spread[1] == pytest.approx(spread[0] ** (1 - WINDOW_STRENGTH), rel=0.01)


def test_int8_repeats_the_network_better(uneven):
    expected = forward(uneven, poses(2))
    scores = []
    for graph in (uneven, equalized(uneven, poses(1))):
        quantized = quantize_graph(graph, calibrated(graph, poses(1)))
        scores.append(fidelity_db(expected, dequantize(forward_int8(quantized, poses(2)), quantized.out_scale)))
    assert scores[1] > scores[0] + 3.0


def test_transposed_convolutions_take_part(graph):
    q = np.random.default_rng(1).uniform(-1.5, 1.5, (60, 4))
    before, after = (peaks(g, q) for g in (graph, equalized(graph, q)))
    named = [layer.name for layer in graph.layers if layer.kind in ("conv", "convt") and layer.attrs["relu"]]
    assert named
    for name in named:
        spread = [values[name].max() / values[name].min() for values in (before, after)]
        assert spread[1] == pytest.approx(spread[0] ** (1 - WINDOW_STRENGTH), rel=0.01)


def test_what_a_shuffle_mixes_or_no_relu_bends_is_left_alone():
    rng = np.random.default_rng(3)
    layers = (Layer("joints", "in"), weighted(rng, "linear", "seam", (4 * 9, 2), relu=0),
              Layer("reshape", "reshape", {"channels": 4, "height": 3, "width": 3}),
              weighted(rng, "convt", "up", (4, 4, 4, 4), stride=2, pad=1, relu=0),
              weighted(rng, "conv", "conv", (8, 4, 3, 3), pad=1, relu=1),
              Layer("pixel_shuffle", "shuffle", {"factor": 2}),
              weighted(rng, "conv", "head", (1, 2, 3, 3), pad=1, relu=0))
    graph = Graph(2, 1, 12, 12, layers)
    after = equalized(graph, poses(4)[:, :2])
    assert all(a is b for a, b in zip(after.layers, graph.layers, strict=True))


def test_a_channel_that_never_speaks_stays_as_it_is(uneven):
    first = uneven.layers[1]
    bias = first.bias.copy()
    bias[:3] = -1e3
    graph = replace(uneven, layers=(uneven.layers[0], replace(first, bias=bias), *uneven.layers[2:]))
    after = equalized(graph, poses(1))
    assert np.array_equal(after.layers[1].weight[:3], first.weight[:3])
    read = after.layers[2].weight / graph.layers[2].weight  # a factor for each row, as these are channels, too
    assert np.allclose(read[:, :3], read[:, :1])
    assert not np.allclose(read[:, 3:], read[:, :1])
