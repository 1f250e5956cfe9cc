"""Transposed convolutions rewritten as convolutions: the same numbers, and scales that fit."""

import numpy as np
import pytest

from edgekin.compile.subpixel import convolutions
from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import forward


def one_layer(kernel, stride, pad, side=5, relu=True):
    rng = np.random.default_rng(kernel + 10 * stride + 100 * pad)
    out = (side - 1) * stride + kernel - 2 * pad
    return Graph(4, 3, out, out, (
        Layer("joints", "joints0"),
        Layer("linear", "linear0", {}, rng.normal(size=(2 * side**2, 4)).astype(np.float32),
              np.zeros(2 * side**2, np.float32)),
        Layer("reshape", "reshape0", {"channels": 2, "height": side, "width": side}),
        Layer("convt", "convt0", {"stride": stride, "pad": pad, "relu": relu},
              rng.normal(size=(2, 3, kernel, kernel)).astype(np.float32), rng.normal(size=3).astype(np.float32)),
    ))


@pytest.mark.parametrize(("kernel", "stride", "pad"),
                         [(4, 2, 1), (2, 2, 0), (6, 2, 2), (5, 3, 1), (4, 4, 0), (8, 4, 2), (3, 1, 1), (3, 1, 2),
                          (1, 1, 0)])
def test_the_convolution_gives_what_the_transposed_one_gives(kernel, stride, pad):
    graph = one_layer(kernel, stride, pad)
    rewritten = convolutions(graph)
    assert "convt" not in [layer.kind for layer in rewritten.layers]
    assert "convt0" in [layer.name for layer in rewritten.layers]  # its calibrated scale fits
    q = np.random.default_rng(0).uniform(-3, 3, (6, 4))
    # The same products in another order of summation.
    assert np.abs(forward(rewritten, q) - forward(graph, q)).max() < 1e-4


def test_what_no_pixel_shuffle_yields_stays_a_transposed_convolution():
    graph = one_layer(3, 2, 1)  # (5 - 1) * 2 + 3 - 2 = 9, not 10
    assert convolutions(graph) == graph


def test_the_phases_of_a_channel_share_one_weight_scale():
    onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'edgekin[train]'")
    from edgekin.compile.onnx_export import OnnxOptions, export_onnx

    graph = convolutions(one_layer(4, 2, 1))
    model = export_onnx(graph, OnnxOptions(scales={"joints0": 0.02, "linear0": 0.1, "convt0": 0.1}, min_channels=1))
    stored = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load_from_string(model).graph.initializer}
    of_channels = np.abs(one_layer(4, 2, 1).layers[3].weight).max(axis=(0, 2, 3)) / 127
    assert stored["convt0_w_scale"] == pytest.approx(np.repeat(of_channels, 4))
