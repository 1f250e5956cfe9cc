"""The numpy reference against torch, and the quantizer's properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekin.compile.weights import read_header, write_weights
from edgekin.errors import BundleError, ConfigError
from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import activations, count, forward, shapes, sincos
from edgekin.quantization.qgraph import dequantize, forward_int8, quantize_graph, quantize_joints
from tests.parity.graphs import calibrated, decoder

#: float32 sums in another order than torch's: a few ulp of the largest partial sum, for logits of order 1.
TORCH_TOLERANCE = 2e-5


def test_sincos_is_within_one_float32_ulp_of_libm():
    q = np.linspace(-12.0, 12.0, 4001, dtype=np.float32)[:, None]
    exact = np.concatenate([np.sin(q.astype(np.float64)), np.cos(q.astype(np.float64))], axis=1)
    assert np.abs(sincos(q) - exact).max() <= 2.0**-24


def test_reference_equals_torch_on_every_layer_kind():
    torch = pytest.importorskip("torch", reason="pip install 'edgekin[train]'")
    rng = np.random.default_rng(7)
    graph = decoder(rng)
    w = {layer.name: (torch.from_numpy(layer.weight), torch.from_numpy(layer.bias))
         for layer in graph.layers if layer.weight is not None}
    q = rng.uniform(-2, 2, (5, graph.n_joints)).astype(np.float32)
    f = torch.nn.functional
    x = torch.from_numpy(q)
    x = torch.cat([x.sin(), x.cos()], dim=1)
    x = f.relu(f.linear(x, *w["linear"])).reshape(5, 8, 3, 4)
    x = f.relu(f.conv_transpose2d(x, *w["convt_k4"], stride=2, padding=1))
    x = f.conv_transpose2d(x, *w["convt_k3"], stride=1, padding=2)
    x = f.interpolate(x, size=(11, 13), mode="bilinear", align_corners=False)
    x = f.conv2d(x, *w["conv"], padding=1)
    x = f.pixel_shuffle(x, 2)[:, :, :20, :25]
    assert np.abs(forward(graph, q) - x.numpy()).max() < TORCH_TOLERANCE


def test_activations_name_every_layer_and_count_adds_up():
    graph = decoder(np.random.default_rng(1))
    seen = {name: x.shape[1:] for name, x in activations(graph, np.zeros((2, graph.n_joints)))}
    assert list(seen.values()) == shapes(graph)[1:]
    parameters, macs = count(graph)
    assert parameters == sum(x.weight.size + x.bias.size for x in graph.layers if x.weight is not None)
    assert macs == 6 * 96 + 12 * 8 * 12 * 16 + 48 * 12 * 8 * 9 + 11 * 13 * 8 * 8 * 9


@given(st.floats(1e-4, 10), st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50))
@settings(max_examples=100, deadline=None)
def test_quantization_error_is_at_most_half_a_step_in_range(scale, values):
    x = np.array(values, dtype=np.float32) * np.float32(32766.5 * scale)
    error = np.abs(dequantize(quantize_joints(x, scale), scale).astype(np.float64) - x)
    rounding = 4 * 32767 * 2.0**-24  # of float32 at the largest value: x / scale and q * scale, in steps
    assert error.max() <= scale * (0.5 + rounding)


def test_integer_logits_follow_the_float_logits():
    rng = np.random.default_rng(3)
    graph = decoder(rng)
    q = rng.uniform(-2, 2, (40, graph.n_joints)).astype(np.float32)
    quant = quantize_graph(graph, calibrated(graph, q))
    wanted, got = forward(graph, q), dequantize(forward_int8(quant, q), quant.out_scale)
    assert np.sqrt(np.mean((wanted - got) ** 2)) < 0.05 * wanted.std()


def test_a_dead_channel_does_not_coarsen_the_others():
    rng = np.random.default_rng(4)
    graph = decoder(rng)
    first = graph.layers[1]
    first.weight[0], first.bias[0] = 0, 0.25
    q = rng.uniform(-2, 2, (8, graph.n_joints)).astype(np.float32)
    quant = quantize_graph(graph, calibrated(graph, q))
    assert quant.layers[1].shift == 32


def test_overflowing_accumulators_are_refused():
    n = 140_000
    wide = Layer("linear", "a", {}, np.ones((n, 2), np.float32), np.zeros(n, np.float32))
    narrow = Layer("linear", "b", {}, np.ones((1, n), np.float32), np.zeros(1, np.float32))
    graph = Graph(1, 1, 1, 1, (Layer("sincos", "in"), wide, narrow))
    with pytest.raises(ConfigError, match="accumulator"):
        quantize_graph(graph, {"a": 0.02, "b": 1000.0})


def test_missing_scale_and_inconsistent_graphs_are_refused():
    graph = decoder(np.random.default_rng(5))
    with pytest.raises(ConfigError, match="no output scale for layer linear"):
        quantize_graph(graph, {})
    with pytest.raises(ConfigError, match="begins with"):
        shapes(Graph(2, 1, 1, 1, graph.layers[1:]))
    with pytest.raises(ConfigError, match="yields"):
        shapes(Graph(3, 1, 20, 25, graph.layers))
    with pytest.raises(ConfigError, match="joint angles"):
        forward(graph, np.zeros((4, 7)))


def test_layers_beyond_the_engines_limits_are_refused():
    kernel = np.zeros((1, 1, 17, 17), np.float32)
    stamp = Layer("convt", "wide", {"stride": 1, "pad": 0}, kernel, np.zeros(1, np.float32))
    seam = Layer("linear", "a", {}, np.zeros((1, 2), np.float32), np.zeros(1, np.float32))
    with pytest.raises(ConfigError, match="kernel 17"):
        write_weights(Graph(1, 1, 17, 17, (Layer("sincos", "in"), seam, stamp)))


def test_weight_file_head_reads_back_and_damage_is_found():
    graph = decoder(np.random.default_rng(6))
    blob = write_weights(graph)
    head = read_header(blob)
    assert (head.precision, head.n_joints, head.height, head.width) == ("fp32", 3, 20, 25)
    assert head.n_layers == len(graph.layers)
    changed = bytearray(blob)
    changed[-70] ^= 1
    with pytest.raises(BundleError, match="changed"):
        read_header(bytes(changed))
    with pytest.raises(BundleError, match="bytes"):
        read_header(blob[:-1])
    with pytest.raises(BundleError, match="not a weight file"):
        read_header(b"PK\3\4")
