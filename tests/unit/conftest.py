"""Small decoders with random weights, and torch's own evaluation of a graph."""

import numpy as np
import pytest

from edgekin.models.graph import Graph, Layer


def weights(rng, *shape):
    fan_in = np.prod(shape[1:])
    return rng.normal(scale=1.0 / np.sqrt(fan_in), size=shape).astype(np.float32)


def shuffle_graph():
    """sincos -> linear -> linear -> conv -> conv -> pixel shuffle -> crop, two views."""
    rng = np.random.default_rng(0)
    return Graph(4, 2, 22, 23, (
        Layer("sincos", "sincos0"),
        Layer("linear", "linear0", {"relu": True}, weights(rng, 32, 8), weights(rng, 32, 1)[:, 0]),
        Layer("linear", "linear1", {"relu": True}, weights(rng, 16 * 36, 32), weights(rng, 16 * 36, 1)[:, 0]),
        Layer("reshape", "reshape0", {"channels": 16, "height": 6, "width": 6}),
        Layer("conv", "conv0", {"pad": 1, "relu": True}, 2 * weights(rng, 16, 16, 3, 3), weights(rng, 16, 1)[:, 0]),
        Layer("conv", "conv1", {"pad": 1, "relu": False}, 4 * weights(rng, 32, 16, 3, 3), weights(rng, 32, 1)[:, 0]),
        Layer("pixel_shuffle", "shuffle0", {"factor": 4}),
        Layer("crop", "crop0", {"height": 22, "width": 23}),
    ))


def transposed_graph():
    """joints -> linear -> transposed convolutions -> resize -> conv: the published network's shape, small."""
    rng = np.random.default_rng(1)
    return Graph(4, 1, 25, 27, (
        Layer("joints", "joints0"),
        Layer("linear", "linear0", {"relu": True}, weights(rng, 24 * 16, 4), weights(rng, 24 * 16, 1)[:, 0]),
        Layer("reshape", "reshape0", {"channels": 24, "height": 4, "width": 4}),
        Layer("convt", "convt0", {"stride": 2, "pad": 1, "relu": True}, 2 * weights(rng, 24, 16, 4, 4),
              weights(rng, 16, 1)[:, 0]),
        Layer("convt", "convt1", {"stride": 1, "pad": 2, "relu": True}, 2 * weights(rng, 16, 16, 3, 3),
              weights(rng, 16, 1)[:, 0]),
        Layer("resize", "resize0", {"height": 25, "width": 27}),
        Layer("conv", "conv0", {"pad": 1, "relu": False}, 6 * weights(rng, 1, 16, 3, 3), np.zeros(1, np.float32)),
    ))


def torch_forward(graph, joint_pos):
    """Evaluate a graph with torch's own operators; (N, J) -> (N, V, H, W)."""
    import torch
    from torch.nn import functional

    x = torch.as_tensor(np.asarray(joint_pos, np.float32))
    for layer in graph.layers:
        attrs = layer.attrs
        if layer.weight is not None:
            w, b = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
        if layer.kind == "sincos":
            x = torch.cat([x.sin(), x.cos()], dim=1)
        elif layer.kind == "linear":
            x = functional.linear(x, w, b)
        elif layer.kind == "reshape":
            x = x.reshape(-1, attrs["channels"], attrs["height"], attrs["width"])
        elif layer.kind == "conv":
            x = functional.conv2d(x, w, b, padding=attrs["pad"])
        elif layer.kind == "convt":
            x = functional.conv_transpose2d(x, w, b, stride=attrs["stride"], padding=attrs["pad"])
        elif layer.kind == "pixel_shuffle":
            x = functional.pixel_shuffle(x, attrs["factor"])
        elif layer.kind == "resize":
            x = functional.interpolate(x, size=(attrs["height"], attrs["width"]), mode="bilinear", align_corners=False)
        elif layer.kind == "crop":
            x = x[..., : attrs["height"], : attrs["width"]]
        if attrs.get("relu"):
            x = x.relu()
    return x.numpy()


@pytest.fixture(params=[shuffle_graph, transposed_graph], ids=["shuffle", "transposed"])
def graph(request):
    return request.param()


@pytest.fixture
def joint_pos():
    return np.random.default_rng(2).uniform(-1.5, 1.5, size=(40, 4))


@pytest.fixture
def torch_logits(graph, joint_pos):
    pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
    return torch_forward(graph, joint_pos)
