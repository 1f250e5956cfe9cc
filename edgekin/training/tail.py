"""The convolutions of a compact decoder, trained by engines/learn: a step in a third of torch's time on the CPU.

What a decoder computes from its feature map on (3x3 convolutions, pixel shuffle, loss) is one call of the C library,
which also gives the derivative; the layers before it stay torch's. The figures are those of `losses`, up to rounding.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from edgekin.errors import RuntimeFault
from edgekin.models.body import ISAS
from edgekin.models.neurokin import Crop, Decoder
from edgekin.training.losses import FEATURE_LIMIT, LOGIT_LIMIT, RANGE_WEIGHT, SMOOTHING, SQUARED_WEIGHT

MIN_COLUMNS, MAX_CONVS = 5, 4


class Tail:
    """A decoder's layers from its feature map on, open in the C library; for one thread.

    Args:
        decoder: one that `fits`.
        isa: auto or scalar.
    """

    def __init__(self, decoder: Decoder, isa: str = "auto") -> None:
        from edgekin._ek import ffi, lib

        at = _beginning(decoder)
        if at is None:
            raise RuntimeFault("these layers are not a compact decoder's")
        unflatten, after = decoder.layers[at], list(decoder.layers)[at + 1 :]
        assert isinstance(unflatten, nn.Unflatten)
        self.head = nn.Sequential(*list(decoder.layers)[:at])
        self.parameters = [p for layer in after if isinstance(layer, nn.Conv2d) for p in (layer.weight, layer.bias)]
        outs = [layer.out_channels for layer in after if isinstance(layer, nn.Conv2d)]
        channels, rows, columns = unflatten.unflattened_size
        shape = decoder.shape
        layout = ffi.new("ek_tail_layout *", {
            "rows": rows, "columns": columns, "channels": channels, "n_convs": len(outs), "out": outs,
            "n_views": shape.n_views, "factor": _factor(after), "height": shape.height, "width": shape.width,
            "isa": ISAS.index(isa), "smoothing": SMOOTHING, "logit_limit": LOGIT_LIMIT,
            "feature_limit": FEATURE_LIMIT, "range_weight": RANGE_WEIGHT, "log_squared": SQUARED_WEIGHT})
        status = ffi.new("int *")
        handle = lib.ek_tail_create(layout, status)
        if handle == ffi.NULL:
            raise RuntimeFault(f"the decoder's convolutions cannot be opened: status {status[0]}")
        self._ffi, self._lib, self._handle = ffi, lib, ffi.gc(handle, lib.ek_tail_destroy)

    def loss(self, features: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the silhouette loss, without derivative, and its sum with what else these layers minimise.

        Args:
            features: (B, channels * rows * columns) what the layers before give, behind their ReLU.
            target: (B, V, H, W) probabilities.
        """
        total, loss = _Learn.apply(self, features, target, *self.parameters)  # type: ignore[no-untyped-call]
        return loss, total

    def learn(self, flat: Any, features: Any, target: Any) -> tuple[float, float, Any, Any]:
        """Return (loss, penalty, derivative of their sum by the parameters, by the features); float32 arrays."""
        dflat, dfeatures = np.empty_like(flat), np.empty_like(features)
        loss, penalty = self._ffi.new("double *"), self._ffi.new("double *")
        pointers = [self._ffi.from_buffer("float[]", array) for array in (flat, features, target)]
        status = self._lib.ek_tail_learn(self._handle, *pointers, len(features), loss, penalty,
                                         self._ffi.from_buffer("float[]", dflat),
                                         self._ffi.from_buffer("float[]", dfeatures))
        if status < 0:
            raise RuntimeFault(f"the decoder's convolutions cannot be trained: status {status}")
        return loss[0], penalty[0], dflat, dfeatures


class _Learn(torch.autograd.Function):
    """Loss and derivative in one pass; the derivative waits for `backward`."""

    @staticmethod
    def forward(ctx: Any, tail: Tail, features: Tensor, target: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return (loss + penalty, loss)."""
        flat = torch.cat([p.detach().flatten() for p in parameters]).numpy()
        found = tail.learn(flat, features.detach().contiguous().numpy(), target.contiguous().numpy())
        loss, penalty, dflat, dfeatures = found
        parts = torch.split(torch.from_numpy(dflat), [p.numel() for p in parameters])
        grads = [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]
        ctx.save_for_backward(torch.from_numpy(dfeatures), *grads)
        value = torch.tensor(loss, dtype=torch.float32)
        ctx.mark_non_differentiable(value)
        return torch.tensor(loss + penalty, dtype=torch.float32), value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The derivative was made on the way."""
        dfeatures, *dparameters = (part * grads[0] for part in ctx.saved_tensors)
        return None, dfeatures, None, *dparameters


def _factor(after: list[nn.Module]) -> int:
    return next(int(layer.upscale_factor) for layer in after if isinstance(layer, nn.PixelShuffle))


def _beginning(decoder: Decoder) -> int | None:
    """The index of the Unflatten behind which only what the C library knows comes; None where there is none."""
    layers = list(decoder.layers)
    at = next((i for i, layer in enumerate(layers) if isinstance(layer, nn.Unflatten)), None)
    if not at or not isinstance(layers[at - 1], nn.ReLU):
        return None
    after = [layer for layer in layers[at + 1 :] if not isinstance(layer, Crop)]
    convs, between, shuffle = after[:-1:2], after[1:-1:2], after[-1]
    plain = all(isinstance(c, nn.Conv2d) and c.kernel_size == (3, 3) and c.padding == (1, 1) and c.bias is not None
                for c in convs)
    if not plain or not isinstance(shuffle, nn.PixelShuffle) or len(convs) != len(between) + 1:
        return None
    if not all(isinstance(layer, nn.ReLU) for layer in between) or not 1 <= len(convs) <= MAX_CONVS:
        return None
    unflatten = layers[at]
    assert isinstance(unflatten, nn.Unflatten)
    return at if unflatten.unflattened_size[2] >= MIN_COLUMNS else None


def fits(network: nn.Module) -> TypeGuard[Decoder]:
    """Tell whether a network is a compact decoder on the CPU, whose convolutions the C library can train."""
    return (type(network) is Decoder and _beginning(network) is not None
            and all(p.device.type == "cpu" for p in network.parameters()))
