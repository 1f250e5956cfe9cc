"""Merging a linear layer with the convolution behind it: the same function, fewer products, the convolution's name."""

import numpy as np
import pytest

from edgekin.compile.merge import merged
from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import count, forward
from tests.parity.graphs import weighted


def decoder(kind: str, *, activation: bool = False, behind: bool = True) -> Graph:
    """joints -> linear -> linear, reshape, convolution: relu between and before the last two as asked."""
    rng = np.random.default_rng(0)
    shape = (5, 8, 3, 3) if kind == "conv" else (8, 5, 4, 4)
    attrs = {"pad": 1, "relu": 1} | ({"stride": 2} if kind == "convt" else {})
    side = 4 if kind == "conv" else 8
    layers = (Layer("joints", "joints0"), weighted(rng, "linear", "linear0", (12, 3), relu=int(behind)),
              weighted(rng, "linear", "linear1", (8 * 16, 12), relu=int(activation)),
              Layer("reshape", "reshape0", {"channels": 8, "height": 4, "width": 4}),
              weighted(rng, kind, "window", shape, **attrs),
              weighted(rng, "conv", "head", (1, 5, 1, 1), pad=0, relu=0))
    return Graph(3, 1, side, side, layers)


@pytest.mark.parametrize("kind", ["conv", "convt"])
def test_the_merged_graph_is_the_same_function_with_fewer_products(kind):
    graph = decoder(kind)
    one, q = merged(graph), np.random.default_rng(1).uniform(-2, 2, (5, 3)).astype(np.float32)
    assert [layer.kind for layer in one.layers] == ["joints", "linear", "linear", "reshape", "conv"]
    assert one.layers[2].name == "window"
    assert np.abs(forward(one, q) - forward(graph, q)).max() < 1e-5
    assert count(one)[1] < count(graph)[1]


@pytest.mark.parametrize("options", [{"activation": True}, {"behind": False}])
def test_an_activation_between_them_or_none_before_keeps_them_apart(options):
    graph = decoder("convt", **options)
    assert merged(graph) == graph


def test_a_layer_whose_merged_weights_would_be_many_times_as_many_stays():
    graph = decoder("convt")
    rng = np.random.default_rng(2)
    wide = [*graph.layers[:3], Layer("reshape", "reshape0", {"channels": 2, "height": 8, "width": 8}),
            weighted(rng, "convt", "window", (2, 40, 4, 4), stride=2, pad=1, relu=1),
            weighted(rng, "conv", "head", (1, 40, 1, 1), pad=0, relu=0)]
    graph = Graph(3, 1, 16, 16, tuple(wide))
    assert merged(graph) == graph
