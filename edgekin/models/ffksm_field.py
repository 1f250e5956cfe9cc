"""The free-form model's network: a point and the joints -> visibility and density, and what both make of a ray."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekin.models.field_graph import FieldShape


def encode(x: Tensor, bands: int) -> Tensor:
    """Return x with its sines and cosines at 1, 2, 4 ... times its frequency: (..., C) -> (..., C (1 + 2 bands)).

    Source: Mildenhall et al., NeRF, with the input kept, as Hu et al. do.
    """
    parts = [x]
    for band in range(bands):
        angle = x * 2.0**band
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=-1)


class Field(nn.Module):
    """Split encoders for points and joints, and what joins them.

    Args:
        shape: see FieldShape.
    """

    def __init__(self, shape: FieldShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width

        def encoder(inputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

        self.points = encoder(shape.coordinates * (1 + 2 * shape.point_bands))
        self.joints = encoder(max(shape.joints, 1) * (1 + 2 * shape.joint_bands))
        self.join = nn.Linear(2 * width, width)
        self.narrow = nn.Linear(width, width // 4)
        self.out = nn.Linear(width // 4, 2)
        if shape.soft:
            with torch.no_grad():
                self.out.bias[1] = shape.first_density

    def pose_features(self, joints: Tensor) -> Tensor:
        """Return what the joints add before the joining layer's ReLU: (B, J') rad -> (B, width)."""
        if self.shape.joints == 0:
            joints = torch.zeros(len(joints), 1, dtype=joints.dtype, device=joints.device)
        width = self.shape.width
        features = self.joints(encode(joints, self.shape.joint_bands))
        return functional.linear(features, self.join.weight[:, width:], self.join.bias)

    def forward(self, x: Tensor, pose: Tensor) -> Tensor:
        """Return visibility's log-odds and raw density.

        Args:
            x: (B, N, C) coordinates, about -1 to 1.
            pose: (B, width) of pose_features.

        Returns:
            (B, N, 2).
        """
        h = self.points(encode(x * math.pi, self.shape.point_bands))
        h = functional.linear(h, self.join.weight[:, : self.shape.width]) + pose[:, None]
        raw: Tensor = self.out(self.narrow(h.relu()))
        return raw

    def opacity(self, raw: Tensor, step: Tensor | float) -> Tensor:
        """Return the opacity of a sample: visibility * (1 - exp(-density * step)), (...) of raw (..., 2).

        Args:
            raw: of forward.
            step: length of ray that the sample stands for, in 64ths of the workspace's diameter.
        """
        density = functional.softplus(raw[..., 1]) if self.shape.soft else raw[..., 1].relu()
        return raw[..., 0].sigmoid() * -torch.expm1(-density * step)
