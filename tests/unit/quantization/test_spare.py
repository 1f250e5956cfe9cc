"""Silent units put to use: the same function, rounded more finely where it matters."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import activations, forward
from edgekin.quantization.calibrate import fidelity_db
from edgekin.quantization.equalize import equalized
from edgekin.quantization.qgraph import dequantize, forward_int8, quantize_graph
from edgekin.quantization.samples import peaks
from edgekin.quantization.spare import MOST_COPIES, shared
from tests.parity.graphs import calibrated, weighted


def poses(seed, n=400):
    return np.random.default_rng(seed).uniform(-1.5, 1.5, (n, 3))


def decoder(silent: int) -> Graph:
    """A decoder of which so many of 40 units of the first layer never speak."""
    rng = np.random.default_rng(6)
    first = weighted(rng, "linear", "first", (40, 6), relu=1)
    bias = first.bias + np.float32(1.0)
    bias[:silent] = -1e3
    layers = (Layer("sincos", "in"), replace(first, bias=bias), weighted(rng, "linear", "second", (64, 40), relu=1),
              Layer("reshape", "reshape", {"channels": 1, "height": 8, "width": 8}),
              weighted(rng, "conv", "head", (1, 1, 3, 3), pad=1, relu=0))
    return equalized(Graph(3, 1, 8, 8, layers), poses(1))


def test_the_network_keeps_its_size_and_its_function_up_to_a_fraction_of_a_step():
    graph = decoder(silent=10)
    after = shared(graph, poses(1))
    assert [layer.weight.shape for layer in after.layers if layer.weight is not None] == \
        [layer.weight.shape for layer in graph.layers if layer.weight is not None]
    assert (peaks(after, poses(1))["first"] > 0).all()
    step = peaks(graph, poses(1))["first"].max() / 127
    (before,), (now,) = ([y for name, y in activations(g, poses(2)) if name == "second"] for g in (graph, after))
    # A copy's bias is off by less than half a step, where its unit speaks at all.
    assert np.abs(now - before).max() < 0.5 * step * np.abs(graph.layers[2].weight).sum(axis=1).max()
    assert fidelity_db(forward(graph, poses(2)), forward(after, poses(2))) > 60.0


def test_int8_repeats_the_network_better():
    graph = decoder(silent=16)
    expected, scores = forward(graph, poses(2)), []
    for form in (graph, shared(graph, poses(1))):
        # Steps of the first layer alone: the others' are a tenth.
        scales = {name: scale * (1.0 if name in ("in", "first") else 0.1)
                  for name, scale in calibrated(form, poses(1)).items()}
        quantized = quantize_graph(form, {**scales, "head": calibrated(form, poses(1))["head"]})
        scores.append(fidelity_db(expected, dequantize(forward_int8(quantized, poses(2)), quantized.out_scale)))
    assert scores[1] > scores[0]


def test_the_units_that_harm_most_are_copied_and_no_more_than_pays():
    graph = decoder(silent=30)
    after = shared(graph, poses(1))
    largest = peaks(after, poses(1))["first"]
    assert (largest[:MOST_COPIES] > 0).all()
    assert (largest[MOST_COPIES:30] == 0).all()
    harm = np.square(graph.layers[2].weight[:, 30:]).sum(axis=0)
    rows = after.layers[1].weight
    copies = [int((rows == row).all(axis=1).sum()) for row in graph.layers[1].weight[30:]]
    assert copies[int(harm.argmax())] == max(copies)
    assert sum(copies) == 10 + MOST_COPIES


@pytest.mark.parametrize("silent", [0, 40])
def test_without_silent_units_or_without_others_nothing_changes(silent):
    graph = decoder(silent)
    for before, after in zip(graph.layers, shared(graph, poses(1)).layers, strict=True):
        assert before.weight is None or np.array_equal(before.weight, after.weight)
        assert before.bias is None or np.array_equal(before.bias, after.bias)


def test_a_first_layer_that_spreads_over_a_map_is_left_alone():
    rng = np.random.default_rng(7)
    layers = (Layer("joints", "in"), weighted(rng, "linear", "seam", (16, 3), relu=1),
              Layer("reshape", "reshape", {"channels": 1, "height": 4, "width": 4}),
              weighted(rng, "conv", "head", (1, 1, 3, 3), pad=1, relu=0))
    graph = Graph(3, 1, 4, 4, layers)
    assert shared(graph, poses(1)) is graph
