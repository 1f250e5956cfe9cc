"""The checker of Q/DQ placement: it passes what the exporter writes and names each way of breaking it."""

import re

import numpy as np
import pytest

from edgekin.compile.onnx_export import OnnxOptions, export_onnx
from edgekin.compile.tensorrt.placement import violations
from tests.unit.conftest import shuffle_graph, transposed_graph

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'edgekin[train]'")


def exported(graph, **options):
    scales = {layer.name: 0.05 for layer in graph.layers if layer.weight is not None or layer.kind == "joints"}
    return export_onnx(graph, OnnxOptions(scales=scales, **options))


@pytest.mark.parametrize("make", [shuffle_graph, transposed_graph])
@pytest.mark.parametrize("options", [{}, {"body": "fp16", "opset": 19}, {"weight_pairs": True}],
                         ids=["weak", "strong", "pairs"])
def test_what_the_exporter_writes_obeys(make, options):
    assert violations(exported(make(), **options)) == []


def test_a_graph_without_qdq_obeys():
    assert violations(export_onnx(shuffle_graph())) == []


class Network:
    """An exported network that a test breaks in one place."""

    def __init__(self, graph, **options):
        self.model = onnx.load_from_string(exported(graph, **options))
        self.graph = self.model.graph

    def node(self, name):
        return next(node for node in self.graph.node if node.name == name)

    def set(self, name, value):
        """Replace a constant, or add it."""
        for constant in [c for c in self.graph.initializer if c.name == name]:
            self.graph.initializer.remove(constant)
        self.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))

    def insert(self, node):
        self.graph.node.insert(0, node)

    def broken(self):
        return violations(self.model.SerializeToString())


def zero_point(net):
    net.set("linear1_x_zero", np.array(3, np.int8))


def unsigned(net):
    net.set("linear1_x_zero", np.array(0, np.uint8))


def negative_scale(net):
    net.set("linear1_x_scale", np.array(-1.0, np.float32))


def half_quantized(net):
    net.node("linear1_Gemm").input[0] = net.node("linear1_x_q_QuantizeLinear").input[0]


def quantized_bias(net):
    net.set("b_q", np.zeros(576, np.int8))
    net.insert(onnx.helper.make_node("DequantizeLinear", ["b_q", "linear1_x_scale", "linear1_x_zero"], ["b_dq"]))
    net.node("linear1_Gemm").input[2] = "b_dq"


def other_scale(net):
    net.set("other", np.array(0.5, np.float32))
    net.node("linear1_x_dq_DequantizeLinear").input[1] = "other"


def before_the_relu(net):
    net.node("linear1_x_q_QuantizeLinear").input[0] = "linear0"


def read_by_a_shuffle(net):
    net.node("shuffle0_DepthToSpace").input[0] = "conv1_x_dq"


def activation_axis(net):
    for name in ("scale", "zero"):
        net.set(f"conv0_x_{name}", np.full(16, 0.05, np.float32) if name == "scale" else np.zeros(16, np.int8))


def weight_axis(net):
    attribute = net.node("conv0_w_dq_DequantizeLinear").attribute
    del attribute[:]
    attribute.append(onnx.helper.make_attribute("axis", 1))


def mixed_types(net):
    net.set("linear1_x_scale", np.array(0.05, np.float16))


def quantized_twice(net):
    net.node("linear1_x_q_QuantizeLinear").input[0] = "linear1_w_dq"


@pytest.mark.parametrize(("spoil", "says"), [
    (zero_point, "zero-points must be int8 and 0"),
    (unsigned, "zero-points must be int8 and 0"),
    (negative_scale, "scales must be positive"),
    (half_quantized, "linear1_Gemm: activation and weights must both"),
    (quantized_bias, "linear1_Gemm: the bias stands behind a DQ"),
    (other_scale, "its Q has another scale"),
    (before_the_relu, "a Q between linear0_Gemm and its Relu"),
    (read_by_a_shuffle, "a DQ must be read by weighted nodes alone, it is by .*DepthToSpace"),
    (activation_axis, "an activation must have one scale, it has 16"),
    (weight_axis, "weight scales must be one, or one for each output channel"),
    (mixed_types, "scales and biases are of float16, float32"),
    (quantized_twice, "quantized twice"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_each_broken_rule_is_named(spoil, says):
    network = Network(shuffle_graph())
    spoil(network)
    assert any(re.search(says, found) for found in network.broken()), network.broken()


def test_a_transposed_convolution_with_scales_per_channel_is_named():
    network = Network(transposed_graph())
    network.set("convt0_w_scale", np.full(16, 0.05, np.float32))
    network.set("convt0_w_zero", np.zeros(16, np.int8))
    assert any("tools disagree on its axis" in found for found in network.broken())


def test_narrow_layers_in_int8_are_named():
    found = violations(exported(shuffle_graph(), min_channels=1))
    assert [line.split(":")[0] for line in found] == ["linear0_Gemm"]


def test_fp16_scales_below_opset_19_are_named():
    network = Network(shuffle_graph(), body="fp16", opset=19)
    network.model.opset_import[0].version = 17
    assert network.broken() == ["FP16 scales need opset 19, this is opset 17"]
