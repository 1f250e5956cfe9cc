"""The ONNX flavours: valid, placed as asked, and close to torch in ONNX Runtime."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.compile.onnx_export import OnnxOptions, export_onnx, quantized_layers, run_onnx
from edgekin.errors import ConfigError

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'edgekin[train]'")


def scales_of(graph):
    """A scale for every layer that has one, wide enough for these random graphs."""
    return {layer.name: 6.0 / 127 for layer in graph.layers if layer.weight is not None or layer.kind == "joints"}


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def test_fp32_agrees_with_torch(graph, joint_pos, torch_logits):
    # FP32 in another order of summation.
    assert np.abs(run_onnx(export_onnx(graph), joint_pos) - torch_logits).max() < 1e-4


def test_fp16_body_agrees_with_torch_to_fp16(graph, joint_pos, torch_logits):
    model = export_onnx(graph, OnnxOptions(body="fp16", opset=19))
    # 11 bits of mantissa over a handful of layers; the probabilities move by less than 1%.
    assert np.abs(sigmoid(run_onnx(model, joint_pos)) - sigmoid(torch_logits)).max() < 1e-2
    parsed = onnx.load_from_string(model)
    assert parsed.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert parsed.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    weights = [w for w in parsed.graph.initializer if w.name.endswith("_w")]
    assert weights
    assert all(w.data_type == onnx.TensorProto.FLOAT16 for w in weights)


@pytest.mark.parametrize("options", [{}, {"body": "fp16", "opset": 19}, {"weight_pairs": True}, {"min_channels": 1}],
                         ids=["fp32", "fp16", "pairs", "every-layer"])
def test_qdq_stays_near_torch(graph, joint_pos, torch_logits, options):
    model = export_onnx(graph, OnnxOptions(scales=scales_of(graph), **options))
    error = np.abs(sigmoid(run_onnx(model, joint_pos)) - sigmoid(torch_logits))
    assert error.mean() < 0.02


def test_qdq_placement(graph):
    parsed = onnx.load_from_string(export_onnx(graph, OnnxOptions(scales=scales_of(graph))))
    quantized = quantized_layers(graph, 16)
    assert quantized
    values = {w.name: onnx.numpy_helper.to_array(w) for w in parsed.graph.initializer}
    nodes = {node.output[0]: node for node in parsed.graph.node}
    assert len([n for n in parsed.graph.node if n.op_type == "QuantizeLinear"]) == len(quantized)
    for node in parsed.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert values[node.input[2]].dtype == np.int8
            assert not values[node.input[2]].any()
        if node.op_type in ("Gemm", "Conv", "ConvTranspose"):
            behind = [nodes[name].op_type for name in node.input if name in nodes]
            assert (behind.count("DequantizeLinear") == 2) == (node.output[0] in quantized)
            assert values[node.input[2]].dtype == np.float32  # no DQ on a bias
            if node.output[0] in quantized:
                scale = values[nodes[node.input[1]].input[1]]
                assert scale.ndim == (0 if node.op_type == "ConvTranspose" else 1)


def test_narrow_layers_and_the_head_stay_out_of_int8(graph):
    names = quantized_layers(graph, 16)
    assert "linear0" not in names  # fewer than 16 inputs
    heads = [layer for layer in graph.layers if layer.weight is not None]
    assert (heads[-1].name in names) == (heads[-1].weight.shape[0] >= 16)


def test_int8_weights_are_stored_as_int8(graph):
    scales = scales_of(graph)
    small = export_onnx(graph, OnnxOptions(scales=scales, min_channels=1))
    assert len(small) < 0.5 * len(export_onnx(graph, OnnxOptions(scales=scales, min_channels=1, weight_pairs=True)))


def test_a_missing_scale_names_the_layer(graph):
    with pytest.raises(ConfigError, match="has no input scale"):
        export_onnx(graph, OnnxOptions(scales={}))


@pytest.mark.parametrize("options", [{"body": "bf16"}, {"body": "fp16", "opset": 17, "scales": {}}])
def test_contradicting_options_are_refused(graph, options):
    with pytest.raises(ConfigError, match=r"expected fp32 or fp16|needs opset 19"):
        export_onnx(graph, OnnxOptions(**options))


def test_weights_on_a_grid_of_their_own_keep_its_codes(graph, joint_pos):
    """A layer that tells its scale is stored with it, where its largest code is below 127, too."""
    rng = np.random.default_rng(0)
    layers, codes = [], {}
    for layer in graph.layers:
        if layer.kind in ("linear", "conv"):
            scale = rng.uniform(0.01, 0.02, len(layer.weight))
            codes[layer.name] = rng.integers(-90, 91, layer.weight.shape).astype(np.int8)
            grid = codes[layer.name] * scale.reshape((-1,) + (1,) * (layer.weight.ndim - 1))
            layer = replace(layer, weight=grid.astype(np.float32), weight_scale=scale)
        layers.append(layer)
    graph = replace(graph, layers=tuple(layers))
    model = export_onnx(graph, OnnxOptions(scales=scales_of(graph), min_channels=1))
    stored = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load_from_string(model).graph.initializer}
    named = {name: stored[f"{name}_w_q"] for name in codes if f"{name}_w_q" in stored}
    assert len(named) >= 2
    for name, found in named.items():
        assert np.array_equal(found, codes[name])
        layer = next(v for v in graph.layers if v.name == name)
        assert np.allclose(stored[f"{name}_w_scale"], layer.weight_scale)
