"""Datasets: joint angles and the silhouettes that go with them, in memory and on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Dataset:
    """N samples of a robot with J actuated joints seen by V cameras."""

    joint_pos: NDArray[np.float64]  # (N, J) rad, measured
    packed: NDArray[np.uint8]  # (N, V, H, ceil(W / 8)) numpy.packbits along x
    width: int  # px
    meta: dict[str, Any] = field(default_factory=dict)  # robot, robot_sha256, seed, excitation, convention, units ...
    depth: NDArray[np.float32] | None = None  # (N, V, H, W) m, +inf off the robot

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(N, V, H, W) bool, unpacked."""
        return np.unpackbits(self.packed, axis=-1, count=self.width).astype(np.bool_)

    def __len__(self) -> int:
        return len(self.joint_pos)
