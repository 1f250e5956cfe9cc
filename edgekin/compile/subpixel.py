"""Transposed convolutions as convolutions: TensorRT's have no INT8 that can be relied on, convolutions have.

With stride 1 a transposed convolution is the convolution with the kernel turned round. With stride s every output
(s m + r) sees the inputs m + d that the kernel places k = r + p - s d allow: s*s ordinary kernels, one for each phase
(r_y, r_x), whose outputs a pixel shuffle interleaves. Source: Shi et al. 2016, "Is the
deconvolution layer the same as a convolutional layer?".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekin.models.graph import F32, Graph, Layer
from edgekin.models.reference import shapes


def convolutions(graph: Graph) -> Graph:
    """Return the graph without transposed convolutions, where they can be done without; the logits are the same.

    The convolution keeps the name of its layer, so that calibrated scales fit. The phases of a channel stand one behind
    the other; `phases` in the attributes says how many share a weight scale, as they did.
    """
    sizes = shapes(graph)
    layers: list[Layer] = []
    for layer, size_in, size_out in zip(graph.layers, sizes[:-1], sizes[1:], strict=True):
        layers += _converted(layer, size_in[1], size_out[1]) if layer.kind == "convt" else [layer]
    return replace(graph, layers=tuple(layers))


def _converted(layer: Layer, side_in: int, side_out: int) -> list[Layer]:
    assert layer.weight is not None and layer.bias is not None  # noqa: PT018 - shapes() has checked both
    a, kernel = layer.attrs, layer.weight.shape[2]
    relu, stride, pad = a.get("relu", False), a["stride"], a["pad"]
    turned = np.ascontiguousarray(layer.weight.swapaxes(0, 1)[:, :, ::-1, ::-1])
    if stride == 1 and pad < kernel:
        return [Layer("conv", layer.name, {"pad": kernel - 1 - pad, "relu": relu}, turned, layer.bias)]
    if stride == 1 or side_out != stride * side_in:
        return [layer]
    weight = _phases(layer.weight, stride, pad)
    attrs = {"pad": weight.shape[2] // 2, "relu": relu, "phases": stride**2}
    return [Layer("conv", layer.name, attrs, weight, np.repeat(layer.bias, stride**2)),
            Layer("pixel_shuffle", f"{layer.name}_shuffle", {"factor": stride})]


def _phases(weight: F32, stride: int, pad: int) -> F32:
    """(in, out, k, k) -> (out * s * s, in, n, n): the kernels of the phases, in the order of a pixel shuffle."""
    c_in, c_out, kernel, _ = weight.shape
    # Phase r sees its input d places on, -reach <= d <= reach, through kernel place r + p - s d.
    reach = max(abs(d) for r in range(stride) for d in range(-kernel, kernel + 1) if 0 <= r + pad - stride * d < kernel)
    out = np.zeros((c_out, stride, stride, c_in, 2 * reach + 1, 2 * reach + 1), np.float32)
    places = [(r, d, r + pad - stride * d) for r in range(stride) for d in range(-reach, reach + 1)
              if 0 <= r + pad - stride * d < kernel]
    for ry, dy, ky in places:
        for rx, dx, kx in places:
            out[:, ry, rx, :, dy + reach, dx + reach] = weight[:, :, ky, kx].T
    return out.reshape(c_out * stride**2, c_in, 2 * reach + 1, 2 * reach + 1)
