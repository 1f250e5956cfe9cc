"""The last layers of a decoder, trained by engines/learn: a step in a fraction of torch's time on the CPU.

What a decoder computes from the code that its MLP gives (the linear layer that spreads it over a map, 3x3 convolutions,
pixel shuffle, loss) is one call of the C library, on every core, which also gives the derivative; the layers before it
stay torch's. The figures are those of `losses`, up to rounding, and the same for any number of threads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgekin.errors import RuntimeFault
from edgekin.models.body import ISAS
from edgekin.models.neurokin import FACTOR, Crop, Decoder
from edgekin.models.registry import PictureShape
from edgekin.models.resneurokin_d import Residual, ResidualDecoder
from edgekin.training.losses import (
    DEPTH_WEIGHT,
    FEATURE_LIMIT,
    LOGIT_LIMIT,
    RANGE_WEIGHT,
    SMOOTHING,
    SQUARED_WEIGHT,
)

MIN_COLUMNS, MAX_CONVS, LANES, MAX_THREADS = 5, 8, 8, 8


@dataclass(frozen=True)
class Parts:
    """A decoder taken apart where the C library begins."""

    shape: PictureShape
    head: nn.Sequential  # (B, J) rad -> code
    spread: nn.Linear  # code -> map, before its ReLU
    grid: tuple[int, int, int]  # channels, rows, columns of that map
    convs: list[list[nn.Conv2d]]  # one behind the other; of the last there may be two side by side
    residual: bool  # all but the last are pairs that add what goes into the first
    depth_m: tuple[float, float] | None  # depth at 0 and what 1 adds to it, of the second of the last


class Tail:
    """A decoder's layers from its code on, open in the C library.

    Args:
        decoder: one that `fits`.
        isa: auto or scalar.
        threads: None: one for each core that this process may use, or OMP_NUM_THREADS.
        depth_weight: factor of what errors of depth cost.
        activity_weight: of the means of the maps between the layers.
    """

    def __init__(self, decoder: nn.Module, isa: str = "auto", threads: int | None = None,
                 depth_weight: float = 1.0, activity_weight: float = 0.0) -> None:
        from edgekin._ek import ffi, lib

        parts = parts_of(decoder)
        if parts is None:
            raise RuntimeFault("these layers are not a compact decoder's")
        self.head, self.spread, self._convs = parts.head, parts.spread, parts.convs
        channels, rows, columns = parts.grid
        shape, (middle, unit) = parts.shape, parts.depth_m or (0.0, 0.0)
        layout = ffi.new("ek_tail_layout *", {
            "code": self.spread.in_features, "rows": rows, "columns": columns, "channels": channels,
            "n_convs": len(parts.convs), "out": [sum(c.out_channels for c in convs) for convs in parts.convs],
            "residual": parts.residual, "depth": parts.depth_m is not None, "n_views": shape.n_views,
            "factor": FACTOR, "height": shape.height, "width": shape.width,
            "isa": ISAS.index(isa), "n_threads": threads or default_threads(), "smoothing": SMOOTHING,
            "logit_limit": LOGIT_LIMIT, "feature_limit": FEATURE_LIMIT, "range_weight": RANGE_WEIGHT,
            "activity_weight": activity_weight,
            "log_squared": SQUARED_WEIGHT, "depth_weight": depth_weight * DEPTH_WEIGHT, "depth_middle_m": middle,
            "depth_unit_m": unit})
        status = ffi.new("int *")
        handle = lib.ek_tail_create(layout, status)
        if handle == ffi.NULL:
            raise RuntimeFault(f"the decoder's last layers cannot be opened: status {status[0]}")
        self._ffi, self._lib, self._handle = ffi, lib, ffi.gc(handle, lib.ek_tail_destroy)
        self._small = [p for convs in parts.convs for p in (*(c.weight for c in convs), *(c.bias for c in convs))
                       if p is not None]
        self._dspread, self._dbias = torch.empty_like(self.spread.weight), torch.empty_like(self.spread.bias)
        self._dconvs = torch.empty(lib.ek_tail_n_parameters(handle))

    def loss(self, code: Tensor, target: Tensor, depth: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the silhouette loss, without derivative, and its sum with what else these layers minimise.

        The sum's `backward` gives the code its derivative and replaces those of these layers' parameters.

        Args:
            code: (B, units) what the layers before give.
            target: (B, V, H, W) probabilities.
            depth: (N, V, H, W) m of the first N <= B samples, infinite off the robot.
        """
        total, loss = _Learn.apply(self, code, target, depth)  # type: ignore[no-untyped-call]
        return loss, total

    def learn(self, code: Tensor, target: Tensor, depth: Tensor | None) -> tuple[float, float, Tensor]:
        """Return (loss, penalty, derivative of their sum by the code); the parameters' are kept for `give`."""
        code, target, dcode = code.detach().contiguous(), target.contiguous(), torch.empty_like(code)
        depth = None if depth is None or not len(depth) else depth.contiguous()
        flat = torch.cat([p.detach().flatten() for p in self._small])
        arrays = {"spread": self.spread.weight, "bias": self.spread.bias, "convs": flat, "code": code,
                  "targets": target, "dspread": self._dspread, "dbias": self._dbias, "dconvs": self._dconvs,
                  "dcode": dcode} | ({} if depth is None else {"depth": depth})
        assert all(a.dtype == torch.float32 and a.is_contiguous() for a in arrays.values())
        batch = self._ffi.new("ek_tail_batch *", {
            "n": len(code), "n_depth": 0 if depth is None else len(depth),
            **{name: self._ffi.cast("float *", a.data_ptr()) for name, a in arrays.items()}})
        status = self._lib.ek_tail_learn(self._handle, batch)
        if status < 0:
            raise RuntimeFault(f"the decoder's last layers cannot be trained: status {status}")
        return batch.loss, batch.penalty, dcode

    def give(self) -> None:
        """Give the parameters the derivatives of the last call."""
        self.spread.weight.grad, self.spread.bias.grad = self._dspread, self._dbias
        parts = torch.split(self._dconvs, [p.numel() for p in self._small])
        for p, part in zip(self._small, parts, strict=True):
            p.grad = part.view(p.shape)


class _Learn(torch.autograd.Function):
    """Loss and derivative in one pass; the derivative waits for `backward`."""

    @staticmethod
    def forward(ctx: Any, tail: Tail, code: Tensor, target: Tensor, depth: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (loss + penalty, loss)."""
        loss, penalty, dcode = tail.learn(code, target, depth)
        ctx.tail = tail
        ctx.save_for_backward(dcode)
        value = torch.tensor(loss, dtype=torch.float32)
        ctx.mark_non_differentiable(value)
        return torch.tensor(loss + penalty, dtype=torch.float32), value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The derivative was made on the way."""
        (dcode,) = ctx.saved_tensors
        ctx.tail.give()
        return None, dcode * grads[0], None, None


def default_threads() -> int:
    """Return how many threads a step takes: OMP_NUM_THREADS, or one for each core that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return min(int(asked), MAX_THREADS)
    return min(len(os.sched_getaffinity(0)), MAX_THREADS)


def parts_of(network: nn.Module) -> Parts | None:
    """Return a decoder taken apart; None where the C library does not know its layers."""
    if isinstance(network, ResidualDecoder):
        parts = _residual_parts(network)
    elif type(network) is Decoder:
        found = _plain_parts(network)
        if found is None:
            return None
        parts = found
    else:
        return None
    known = all(c.kernel_size == (3, 3) and c.padding == (1, 1) and c.bias is not None
                for convs in parts.convs for c in convs)
    fits = parts.spread.in_features % LANES == 0 and parts.spread.bias is not None
    return parts if known and fits and parts.grid[2] >= MIN_COLUMNS and len(parts.convs) <= MAX_CONVS else None


def _plain_parts(decoder: Decoder) -> Parts | None:
    layers = list(decoder.layers)
    at = next((i for i, layer in enumerate(layers) if isinstance(layer, nn.Unflatten)), None)
    if at is None or at < 2 or not isinstance(layers[at - 1], nn.ReLU):
        return None
    unflatten, spread = layers[at], layers[at - 2]
    assert isinstance(unflatten, nn.Unflatten)
    assert isinstance(spread, nn.Linear)
    after = [layer for layer in layers[at + 1 :] if not isinstance(layer, Crop)]
    convs = [layer for layer in after[:-1:2] if isinstance(layer, nn.Conv2d)]
    between, shuffle = after[1:-1:2], after[-1]
    if not isinstance(shuffle, nn.PixelShuffle) or shuffle.upscale_factor != FACTOR or not convs:
        return None
    if len(convs) + len(between) + 1 != len(after):
        return None
    if len(convs) != len(between) + 1 or not all(isinstance(layer, nn.ReLU) for layer in between):
        return None
    grid = unflatten.unflattened_size
    return Parts(decoder.shape, nn.Sequential(*layers[: at - 2]), spread, (grid[0], grid[1], grid[2]),
                 [[c] for c in convs], residual=False, depth_m=None)


def _residual_parts(decoder: ResidualDecoder) -> Parts:
    code = list(decoder.code)
    spread, unflatten = code[-3], code[-1]
    assert isinstance(spread, nn.Linear)
    assert isinstance(unflatten, nn.Unflatten)
    convs = [[conv] for block in decoder.map if isinstance(block, Residual) for conv in (block.first, block.second)
             if isinstance(conv, nn.Conv2d)]
    grid, (middle, unit) = unflatten.unflattened_size, decoder.depth_frame.tolist()
    return Parts(decoder.shape, nn.Sequential(*code[:-3]), spread, (grid[0], grid[1], grid[2]),
                 [*convs, [decoder.silhouette, decoder.depth]], residual=True, depth_m=(middle, unit))


def fits(network: nn.Module) -> bool:
    """Tell whether a network is a decoder on the CPU whose last layers the C library can train."""
    return parts_of(network) is not None and all(p.device.type == "cpu" for p in network.parameters())
