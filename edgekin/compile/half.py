"""A decoder in half precision as the CUDA kernels compute it: the twin in torch that FP16 products are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekin.compile.product import Float, Logits
from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import sincos

if TYPE_CHECKING:
    from torch import Tensor

#: Frames evaluated at once.
CHUNK = 32


def maps_fp16(graph: Graph, joint_pos: Float) -> Logits:
    """Return all that the last layer yields with weights and maps rounded to half, sums and biases in float32.

    Args:
        graph: the float decoder.
        joint_pos: (N, J) rad.

    Returns:
        (N, graph.n_maps, H, W) float32. The kernels add in another order, and differ by a rounding here and there.
    """
    import torch

    q = np.asarray(joint_pos, dtype=np.float32)
    out = np.empty((len(q), graph.n_maps, graph.height, graph.width), dtype=np.float32)
    with torch.no_grad():
        for i in range(0, len(q), CHUNK):
            first = sincos(q[i : i + CHUNK]) if graph.layers[0].kind == "sincos" else q[i : i + CHUNK]
            x = torch.from_numpy(np.ascontiguousarray(first))[:, :, None, None].half().float()
            for layer in graph.layers[1:]:
                x = _step(layer, x)
                # A resize is convolved before it is rounded: docs/formats.md, "Integer arithmetic".
                x = x if layer.kind == "resize" else x.half().float()
            out[i : i + CHUNK] = x.numpy()
    return out


def _step(layer: Layer, x: Tensor) -> Tensor:
    import torch
    from torch.nn import functional

    a = layer.attrs
    if layer.weight is None or layer.bias is None:
        if layer.kind == "reshape":
            return x.reshape(len(x), a["channels"], a["height"], a["width"])
        if layer.kind == "pixel_shuffle":
            return functional.pixel_shuffle(x, a["factor"])
        if layer.kind == "resize":
            return functional.interpolate(x, size=(a["height"], a["width"]), mode="bilinear", align_corners=False)
        return x[..., : a["height"], : a["width"]]
    w, b = torch.from_numpy(layer.weight).half().float(), torch.from_numpy(layer.bias)
    if layer.kind == "linear":
        y = functional.linear(x.reshape(len(x), -1), w, b)[:, :, None, None]
    elif layer.kind == "conv":
        y = functional.conv2d(x, w, b, padding=a["pad"])
    else:
        y = functional.conv_transpose2d(x, w, b, stride=a["stride"], padding=a["pad"])
    return y.relu() if a.get("relu") else y
