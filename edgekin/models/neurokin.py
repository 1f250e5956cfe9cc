"""NeuroKin: a direct decoder from joint angles to silhouettes.

Sizes s, m and l: sines and cosines -> a small MLP -> a quarter-resolution map -> 3x3 convolutions -> pixel shuffle.
Nearly all parameters sit in the layer that spreads the code over the picture; the convolutions, shared by all places,
turn it into 4x4 blocks of logits. ReLU only, no normalisation: the int8 engines run it as it is trained, and skip the
three quarters of its features that are zero.

Size published: the layers of the published network, for comparison. Source: its layer list (5,189,857 parameters).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekin.errors import ConfigError
from edgekin.models.export import sequential_graph
from edgekin.models.graph import Graph
from edgekin.models.registry import PictureShape, Plan
from edgekin.robot.spec import RobotSpec
from edgekin.robot.views import camera_code

#: Pixels of the picture that one cell of the feature map becomes, per axis.
FACTOR = 4
#: Kinds of convolutions besides 3x3: of single places, and transposed ones of 4x4 that double a map.
POINT, TWICE = "p", "t"
#: Share of robot pixels that the untrained model predicts: log-odds of the last bias, so that training starts calm.
PRIOR = 0.05


@dataclass(frozen=True)
class Widths:
    """What distinguishes the sizes."""

    hidden: tuple[int, ...]  # units of the MLP
    cell: int  # channels of the quarter-resolution map that the MLP writes
    convs: tuple[int, ...]  # channels between the 3x3 convolutions
    many: tuple[int, ...] = ()  # units of the MLP beyond FEW_JOINTS joints; (): the same
    kinds: tuple[str, ...] = ()  # of the convolutions: "" 3x3, POINT or TWICE; (): all 3x3
    factor: int = FACTOR  # pixels of the picture that one cell of the last map becomes, per axis
    head: str = ""  # the last convolution: "" 3x3, POINT

    @property
    def steps(self) -> list[tuple[int, str]]:
        """Channels and kind of every convolution but the last."""
        return list(zip(self.convs, self.kinds or ("",) * len(self.convs), strict=True))

    def units(self, n_joints: int) -> tuple[int, ...]:
        """Return the units of the MLP for so many joints."""
        return self.many if self.many and n_joints > FEW_JOINTS else self.hidden

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the map that the MLP writes, for pictures of a size."""
        cell = self.factor << sum(kind == TWICE for _, kind in self.steps)
        return -(-height // cell), -(-width // cell)


#: More joints want a deeper MLP, which costs little beside the layer that spreads its code: kuka_iiwa, 6,000 steps of
#: distillation, 24.97 dB with (128, 128), 25.32 with (192, 192, 128); seed_arm's four joints 28.12 and 28.22.
FEW_JOINTS = 5
WIDTHS = {
    "s": Widths((96, 96), 4, (8,), (128, 128, 96)),
    "m": Widths((128, 128), 8, (8,), (192, 192, 128)),
    "l": Widths((192, 192), 12, (32, 16), (256, 256, 192)),
}
SIZES = (*WIDTHS, "published")
#: Any other widths, for ablations and evolution: units of the MLP, channels of the map (and `factor`), channels between
#: the convolutions with their kinds, and the last convolution where it is not 3x3: 128x128-8-8, 64x32-4f5-8tx8p-p.
MAX_UNITS, MAX_FACTOR = 4096, 16
_VARIANT = re.compile(r"(\d+(?:x\d+)*)-(\d+)(?:f(\d+))?-(\d+[pt]?(?:x\d+[pt]?)*|none)(?:-(p))?")
LEARNS: tuple[str, ...] = ()
CAMERAS = True


class SinCos(nn.Module):
    """(B, J) rad -> (B, 2J): sines, then cosines."""

    def forward(self, q: Tensor) -> Tensor:
        """Apply the layer."""
        return torch.cat([q.sin(), q.cos()], dim=1)


class SinCosCamera(nn.Module):
    """(B, J + C) rad and camera codes -> (B, 2J + C): sines, cosines, codes."""

    def __init__(self, n_joints: int) -> None:
        super().__init__()
        self.n_joints = n_joints

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        q = x[:, : self.n_joints]
        return torch.cat([q.sin(), q.cos(), x[:, self.n_joints :]], dim=1)


class Joints(nn.Module):
    """(B, J) rad -> the same."""

    def forward(self, q: Tensor) -> Tensor:
        """Apply the layer."""
        return q


class Resize(nn.Module):
    """(B, C, h, w) -> (B, C, height, width), bilinear."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return functional.interpolate(x, size=(self.height, self.width), mode="bilinear", align_corners=False)


class Crop(nn.Module):
    """(B, C, h, w) -> (B, C, height, width): keeps the top left."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return x[..., : self.height, : self.width]


class Decoder(nn.Module):
    """A sequential decoder: (B, J) rad -> logits (B, V, H, W)."""

    def __init__(self, shape: PictureShape, layers: list[nn.Module]) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.Sequential(*layers)

    def forward(self, q: Tensor) -> Tensor:
        """Predict log-odds; q (B, J) rad -> (B, V, H, W)."""
        logits: Tensor = self.layers(q)
        return logits


class Conditioned(Decoder):
    """A decoder that is told its camera: (B, J + C) rad and camera codes -> logits (B, 1, H, W).

    It compiles for the robot's own camera, whose code becomes part of the first layer's bias.
    """

    own: Tensor

    def __init__(self, shape: PictureShape, layers: list[nn.Module], robot: RobotSpec | None) -> None:
        super().__init__(shape, layers)
        code = np.zeros(shape.n_camera) if robot is None else camera_code(robot.cameras[0])
        self.register_buffer("own", torch.tensor(code, dtype=torch.float32))

    def graph(self) -> Graph:
        """Return the decoder of the robot's own camera as plain numbers."""
        first, angles = self.layers[1], 2 * self.shape.n_joints
        assert isinstance(first, nn.Linear)
        fixed = nn.Linear(angles, first.out_features)
        with torch.no_grad():
            fixed.weight.copy_(first.weight[:, :angles])
            fixed.bias.copy_(first.bias + first.weight[:, angles:] @ self.own)
        return sequential_graph(Decoder(self.shape, [SinCos(), fixed, *list(self.layers)[2:]]))


def _convolution(channels: int, out: int, kind: str) -> nn.Module:
    if kind == TWICE:
        return nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1)
    return nn.Conv2d(channels, out, 1) if kind == POINT else nn.Conv2d(channels, out, 3, padding=1)


def _compact(widths: Widths, shape: PictureShape) -> list[nn.Module]:
    rows, columns = widths.grid(shape.height, shape.width)
    layers: list[nn.Module] = [SinCosCamera(shape.n_joints) if shape.n_camera else SinCos()]
    units = 2 * shape.n_joints + shape.n_camera
    for hidden in widths.units(shape.n_joints):
        layers += [nn.Linear(units, hidden), nn.ReLU()]
        units = hidden
    layers += [nn.Linear(units, widths.cell * rows * columns), nn.ReLU(), nn.Unflatten(1, (widths.cell, rows, columns))]
    channels, factor = widths.cell, widths.factor
    for out, kind in widths.steps:
        layers += [_convolution(channels, out, kind), nn.ReLU()]
        channels = out
        rows, columns = (rows * 2, columns * 2) if kind == TWICE else (rows, columns)
    layers += [_convolution(channels, shape.n_views * factor**2, widths.head), nn.PixelShuffle(factor)]
    if (rows * factor, columns * factor) != (shape.height, shape.width):
        layers.append(Crop(shape.height, shape.width))
    return layers


def _published(shape: PictureShape) -> list[nn.Module]:
    layers: list[nn.Module] = [Joints()]
    for a, b in ((shape.n_joints, 128), (128, 256), (256, 1024)):
        layers += [nn.Linear(a, b), nn.ReLU()]
    layers += [nn.Linear(1024, 4096), nn.Unflatten(1, (256, 4, 4))]
    for a, b in ((256, 128), (128, 64), (64, 32)):
        layers += [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
    layers += [nn.ConvTranspose2d(32, 16, 3, stride=1, padding=2), nn.BatchNorm2d(16), nn.ReLU()]
    layers += [Resize(shape.height, shape.width), nn.Conv2d(16, 8, 3, padding=1), nn.ReLU()]
    return [*layers, nn.Conv2d(8, shape.n_views, 1)]


def widths_of(size: str) -> Widths | None:
    """Return the widths of a compact size, named or spelled out as in 128x128-8-8; None for anything else."""
    found = _VARIANT.fullmatch(size)
    if found is None:
        return WIDTHS.get(size)
    hidden, cell, factor, convs, head = found.groups()
    steps = [] if convs == "none" else re.findall(r"(\d+)([pt]?)", convs)
    widths = Widths(tuple(map(int, hidden.split("x"))), int(cell), tuple(int(n) for n, _ in steps),
                    kinds=tuple(kind for _, kind in steps), factor=int(factor or FACTOR), head=head or "")
    sizes = (*widths.hidden, widths.cell, *widths.convs)
    return widths if all(0 < n <= MAX_UNITS for n in sizes) and 0 < widths.factor <= MAX_FACTOR else None


def is_variant(size: str) -> bool:
    """Tell whether `build` takes a size that is not in SIZES."""
    return widths_of(size) is not None


def build(plan: Plan) -> Decoder:
    """Return a decoder with fresh weights."""
    if plan.size == "published":
        if plan.shape.n_camera:
            raise ConfigError("neurokin published takes joint angles alone, no camera", "Use another --size")
        return Decoder(plan.shape, _published(plan.shape))
    widths = widths_of(plan.size)
    assert widths is not None  # the registry has asked
    layers = _compact(widths, plan.shape)
    decoder = Conditioned(plan.shape, layers, plan.robot) if plan.shape.n_camera else Decoder(plan.shape, layers)
    last = [m for m in decoder.layers if isinstance(m, nn.Conv2d)][-1]
    assert last.bias is not None
    nn.init.constant_(last.bias, math.log(PRIOR / (1 - PRIOR)))
    return decoder
