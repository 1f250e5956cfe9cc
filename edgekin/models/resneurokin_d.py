"""ResNeuroKin-D: a residual decoder from joint angles to silhouettes and metric depth.

The layers of neurokin's compact sizes with residual blocks in the code and in the quarter-resolution map, and two heads
on that map: log-odds, and depth in metres along the camera's axis, which means something where there is robot.

A block gives relu(x + f(x)) of an x that a ReLU has made: so it is a layer that carries x along and one that adds it,
and compiles to the kinds of layers that every engine has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edgekin.models.export import numpy_of
from edgekin.models.graph import F32, DepthHead, Graph, Layer
from edgekin.models.neurokin import FACTOR, PRIOR, SinCos
from edgekin.models.registry import PictureShape, Plan
from edgekin.robot.kinematics import link_poses
from edgekin.robot.spec import RobotSpec


@dataclass(frozen=True)
class Widths:
    """What distinguishes the sizes."""

    hidden: int  # units of the code
    code_blocks: int  # residual blocks on it
    cell: int  # channels of the quarter-resolution map
    map_blocks: int  # residual blocks on it


WIDTHS = {"s": Widths(96, 1, 8, 1), "m": Widths(192, 1, 12, 2), "l": Widths(256, 2, 24, 3)}
SIZES = tuple(WIDTHS)
LEARNS: tuple[str, ...] = ()
NEEDS_DEPTH = True
#: Where the depth head's numbers go for depths within the robot's reach: they share int8's range with the log-odds.
DEPTH_RANGE = 8.0
#: Depth of a robot that is not known, m: middle and reach. A trained model brings its own.
USUAL_DEPTH = (1.0, 0.5)


class Residual(nn.Module):
    """relu(x + f(x)), f two linear layers or two 3x3 convolutions with a ReLU between."""

    def __init__(self, width: int, spatial: bool) -> None:
        super().__init__()
        self.first: nn.Module = nn.Conv2d(width, width, 3, padding=1) if spatial else nn.Linear(width, width)
        self.relu = nn.ReLU()
        self.second: nn.Module = nn.Conv2d(width, width, 3, padding=1) if spatial else nn.Linear(width, width)
        self.out = nn.ReLU()
        for name, p in self.second.named_parameters():  # begins as the identity: deep stacks train from the first step
            nn.init.zeros_(p) if name == "bias" else p.data.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to an x >= 0."""
        y: Tensor = self.out(x + self.second(self.relu(self.first(x))))
        return y


class ResidualDecoder(nn.Module):
    """The self-model: (B, J) rad -> logits (B, V, H, W), and depth by `both`."""

    depth_frame: Tensor

    def __init__(self, shape: PictureShape, widths: Widths, reach_m: tuple[float, float]) -> None:
        super().__init__()
        self.shape = shape
        self.grid = -(-shape.height // FACTOR), -(-shape.width // FACTOR)
        rows, columns = self.grid
        code: list[nn.Module] = [SinCos(), nn.Linear(2 * shape.n_joints, widths.hidden), nn.ReLU()]
        code += [Residual(widths.hidden, spatial=False) for _ in range(widths.code_blocks)]
        self.code = nn.Sequential(*code, nn.Linear(widths.hidden, widths.cell * rows * columns), nn.ReLU(),
                                  nn.Unflatten(1, (widths.cell, rows, columns)))
        self.map = nn.Sequential(*(Residual(widths.cell, spatial=True) for _ in range(widths.map_blocks)))
        self.silhouette = nn.Conv2d(widths.cell, shape.n_views * FACTOR**2, 3, padding=1)
        self.depth = nn.Conv2d(widths.cell, shape.n_views * FACTOR**2, 3, padding=1)
        for head, bias in ((self.silhouette, math.log(PRIOR / (1 - PRIOR))), (self.depth, 0.0)):
            assert head.bias is not None
            nn.init.constant_(head.bias, bias)
        middle, reach = reach_m
        self.register_buffer("depth_frame", torch.tensor([middle, reach / DEPTH_RANGE]))  # m at 0, m for one

    def _picture(self, head: nn.Module, features: Tensor) -> Tensor:
        whole = nn.functional.pixel_shuffle(head(features), FACTOR)
        return whole[..., : self.shape.height, : self.shape.width]

    def forward(self, q: Tensor) -> Tensor:
        """Predict log-odds; q (B, J) rad -> (B, V, H, W)."""
        return self._picture(self.silhouette, self.map(self.code(q)))

    def both(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Predict log-odds and depth in m, each (B, V, H, W); q (B, J) rad."""
        features = self.map(self.code(q))
        middle, unit = self.depth_frame
        return self._picture(self.silhouette, features), middle + unit * self._picture(self.depth, features)

    def graph(self) -> Graph:
        """Return the model as plain numbers: log-odds of all views, then depth of all views."""
        layers = [Layer("sincos", "sincos0"), *_layers(self.code, "code"), *_layers(self.map, "map")]
        heads = [numpy_of(head.weight) for head in (self.silhouette, self.depth)]
        biases = [numpy_of(head.bias) for head in (self.silhouette, self.depth)]
        layers.append(Layer("conv", "heads", {"pad": 1, "relu": False}, np.concatenate(heads), np.concatenate(biases)))
        layers.append(Layer("pixel_shuffle", "pixels", {"factor": FACTOR}))
        shape = self.shape
        if (self.grid[0] * FACTOR, self.grid[1] * FACTOR) != (shape.height, shape.width):
            layers.append(Layer("crop", "crop0", {"height": shape.height, "width": shape.width}))
        middle, unit = (float(v) for v in self.depth_frame)
        return Graph(shape.n_joints, shape.n_views, shape.height, shape.width, tuple(layers), DepthHead(middle, unit))


def _layers(body: nn.Sequential, name: str) -> Iterator[Layer]:
    """The layers of a stack: linear with its ReLU, residual blocks as two layers each, unflatten."""
    for index, step in enumerate(body):
        if isinstance(step, Residual):
            yield from _carried(step, f"{name}{index}")
        elif isinstance(step, nn.Linear):
            yield Layer("linear", f"{name}{index}", {"relu": True}, numpy_of(step.weight), numpy_of(step.bias))
        elif isinstance(step, nn.Unflatten):
            channels, height, width = step.unflattened_size
            yield Layer("reshape", f"{name}{index}", {"channels": channels, "height": height, "width": width})


def _carried(block: Residual, name: str) -> tuple[Layer, Layer]:
    """A block as two plain layers: the first computes and carries x along, the second adds it."""
    first, second = block.first, block.second
    assert isinstance(first, nn.Linear | nn.Conv2d)
    assert isinstance(second, nn.Linear | nn.Conv2d)
    w1, w2, b1, b2 = (numpy_of(t) for t in (first.weight, second.weight, first.bias, second.bias))
    width = len(b2)
    same: F32 = np.zeros((width, *w2.shape[:1], *w2.shape[2:]), np.float32)
    middle = (np.arange(width), np.arange(width), *(size // 2 for size in w2.shape[2:]))
    same[middle] = 1.0
    kind = "conv" if w1.ndim == 4 else "linear"
    attrs = {"pad": 1, "relu": True} if kind == "conv" else {"relu": True}
    return (Layer(kind, f"{name}_carry", attrs, np.concatenate([w1, same]), np.pad(b1, (0, width))),
            Layer(kind, f"{name}_add", dict(attrs), np.concatenate([w2, same], axis=1), b2))


def reach_of(robot: RobotSpec, samples: int = 256) -> tuple[float, float]:
    """Return the middle and half the spread, m, of the depths at which the cameras see the robot's links."""
    limits = robot.limits
    q = limits[:, 0] + np.random.default_rng(0).random((samples, len(limits))) * (limits[:, 1] - limits[:, 0])
    places = link_poses(robot, q)[..., :3, 3].reshape(-1, 3)
    depths = np.stack([places @ c.world_to_cam[2, :3] + c.world_to_cam[2, 3] for c in robot.cameras])
    low, high = float(depths.min()), float(depths.max())
    return (low + high) / 2, max((high - low) / 2, 0.05)


def build(plan: Plan) -> ResidualDecoder:
    """Return a decoder with fresh weights."""
    return ResidualDecoder(plan.shape, WIDTHS[plan.size], reach_of(plan.robot) if plan.robot else USUAL_DEPTH)
