"""A sequential torch module as a Graph: one rule per layer type, batch normalisation folded into what precedes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekin.errors import ConfigError
from edgekin.models.graph import F32, Graph, Layer

if TYPE_CHECKING:
    from torch import nn


def numpy_of(tensor: Any) -> F32:
    """Return a tensor as a float32 array."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)


def _square(module: nn.Module, name: str) -> int:
    """The one number behind a pair such as kernel_size; the graph knows no others."""
    value = getattr(module, name)
    pair = value if isinstance(value, tuple) else (value, value)
    if len(set(pair)) != 1 or not isinstance(pair[0], int):
        raise ConfigError(f"{module} has {name} {value}, a graph needs the same number twice", "Use square kernels")
    return int(pair[0])


def _weighted(module: nn.Module) -> tuple[str, dict[str, Any]] | None:
    """Kind and attributes of a layer with weights, or None."""
    from torch import nn

    if isinstance(module, nn.Linear):
        return "linear", {}
    if isinstance(module, nn.Conv2d) and module.groups == 1 and module.dilation == (1, 1) and module.stride == (1, 1):
        return "conv", {"pad": _square(module, "padding")}
    if isinstance(module, nn.ConvTranspose2d) and module.groups == 1 and module.output_padding == (0, 0):
        return "convt", {"stride": _square(module, "stride"), "pad": _square(module, "padding")}
    return None


def _fold(layer: Layer, norm: Any) -> Layer:
    """y = (x - mean) / sqrt(var + eps) * gamma + beta, taken into the weights before it."""
    assert layer.weight is not None
    assert layer.bias is not None
    mean, var = norm.running_mean.double().cpu().numpy(), norm.running_var.double().cpu().numpy()
    gain = norm.weight.detach().double().cpu().numpy() / np.sqrt(var + norm.eps)
    axis = 1 if layer.kind == "convt" else 0
    shape = [1] * layer.weight.ndim
    shape[axis] = -1
    bias = (layer.bias - mean) * gain + norm.bias.detach().double().cpu().numpy()
    return Layer(layer.kind, layer.name, layer.attrs, (layer.weight * gain.reshape(shape)).astype(np.float32),
                 bias.astype(np.float32))


def _plain(module: nn.Module) -> tuple[str, dict[str, Any]]:
    """Kind and attributes of a layer without weights."""
    from torch import nn

    from edgekin.models import neurokin as own

    if isinstance(module, own.SinCos):
        return "sincos", {}
    if isinstance(module, own.Joints):
        return "joints", {}
    if isinstance(module, nn.Unflatten):
        channels, height, width = module.unflattened_size
        return "reshape", {"channels": channels, "height": height, "width": width}
    if isinstance(module, nn.PixelShuffle):
        return "pixel_shuffle", {"factor": module.upscale_factor}
    if isinstance(module, own.Resize):
        return "resize", {"height": module.height, "width": module.width}
    if isinstance(module, own.Crop):
        return "crop", {"height": module.height, "width": module.width}
    raise ConfigError(f"a graph has no layer for {type(module).__name__}", "Build the model from graph.KINDS")


def sequential_graph(module: nn.Module) -> Graph:
    """Return the graph of a module whose `layers` is an nn.Sequential and whose `shape` is a PictureShape.

    Raises:
        ConfigError: a layer that the graph cannot express.
    """
    from torch import nn

    body, shape = getattr(module, "layers", None), getattr(module, "shape", None)
    if not isinstance(body, nn.Sequential) or shape is None:
        raise ConfigError(f"{type(module).__name__} is not sequential: it has no graph", "Give it `layers` and `shape`")
    layers: list[Layer] = []
    counts: dict[str, int] = {}

    def name(kind: str) -> str:
        counts[kind] = counts.get(kind, -1) + 1
        return f"{kind}{counts[kind]}"

    for step in body:
        weighted = _weighted(step)
        last = layers[-1] if layers else None
        if weighted is not None:
            kind, attrs = weighted
            layers.append(Layer(kind, name(kind), {**attrs, "relu": False}, numpy_of(step.weight), numpy_of(step.bias)))
        elif isinstance(step, nn.BatchNorm1d | nn.BatchNorm2d) and last is not None and last.weight is not None:
            layers[-1] = _fold(last, step)
        elif isinstance(step, nn.ReLU) and last is not None:
            layers[-1] = _with_relu(last)
        elif not isinstance(step, nn.Dropout):
            kind, attrs = _plain(step)
            layers.append(Layer(kind, name(kind), attrs))
    return Graph(shape.n_joints, shape.n_views, shape.height, shape.width, tuple(layers))


def _with_relu(layer: Layer) -> Layer:
    if layer.weight is None:
        raise ConfigError(f"a ReLU follows {layer.name}, a graph has it only after a layer with weights",
                          "Put the ReLU before the reshape")
    return Layer(layer.kind, layer.name, {**layer.attrs, "relu": True}, layer.weight, layer.bias)
