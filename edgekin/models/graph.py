"""A trained decoder as a flat list of layers with numpy weights: what training hands to everything after it.

The graph is sequential and inference-only: batch normalisation is folded, dropout gone. Activations are laid out as
(channels, height, width), row-major, as in torch. The last layer yields logits (views, height, width), and
depth behind them where there is a head for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

#: kind -> the attributes and weights that a layer of this kind carries.
KINDS = {
    "sincos": "(J,) rad -> (2J,): sin(q_0..q_J-1), cos(q_0..q_J-1)",
    "linear": "weight (out, in), bias (out,); attrs relu",
    "reshape": "attrs channels, height, width",
    "conv": "weight (out, in, k, k), bias (out,); attrs pad, relu; stride 1",
    "convt": "weight (in, out, k, k), bias (out,); attrs stride, pad, relu; torch.nn.ConvTranspose2d",
    "pixel_shuffle": "attrs factor; torch.nn.PixelShuffle",
    "resize": "attrs height, width; bilinear, align_corners=False, as torch.nn.functional.interpolate",
    "crop": "attrs height, width; keeps the top left",
    "joints": "(J,) rad -> (J,) unchanged: an input layer beside sincos",
}


@dataclass(frozen=True)
class Layer:
    """One step of the graph."""

    kind: str  # a key of KINDS
    name: str  # unique, e.g. "linear0"
    attrs: dict[str, Any] = field(default_factory=dict)  # int or bool
    weight: F32 | None = None
    bias: F32 | None = None
    # (out,) of INT8: what the weights of each output are multiples of, up to 127; None: their largest magnitude / 127.
    weight_scale: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class DepthHead:
    """How the numbers behind the logits mean depth: m = offset_m + unit_m * number."""

    offset_m: float
    unit_m: float


@dataclass(frozen=True)
class Graph:
    """A whole decoder: joints (J,) rad -> logits (V, H, W); with a depth head (2V, H, W), depth behind the logits."""

    n_joints: int
    n_views: int
    height: int  # px
    width: int  # px
    layers: tuple[Layer, ...]
    depth: DepthHead | None = None

    @property
    def n_maps(self) -> int:
        """Pictures that the last layer yields: logits, and depth where there is a head for it."""
        return self.n_views * (2 if self.depth else 1)
