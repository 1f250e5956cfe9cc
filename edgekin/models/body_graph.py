"""A trained body model as plain numbers: what training hands to compile, as a Graph is for a decoder. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.models.body import F32, Body, Optics, sections
from edgekin.models.robot_pictures import RobotPictures

#: Multiply-accumulates that bring one ellipsoid into one picture: half axes 27, centre 9, dual quadric 18, outline 18.
ELLIPSOID_MACS = 72
#: One that composes two poses of the chain.
POSE_MACS = 36


@dataclass(frozen=True)
class BodyGraph(RobotPictures):
    """Soft ellipsoids on a kinematic tree: joints (J,) rad -> logits (V, H, W)."""

    links: NDArray[np.int32]  # (N,) the link of each ellipsoid
    optics: Optics
    parameters: F32  # flat, the layout of edgekin.models.body

    def open(self, isa: str = "auto") -> Body:
        """Return it open in the C library."""
        body = Body(self.robot, self.links, self.optics, isa)
        body.set(self.parameters)
        return body

    def count(self) -> tuple[int, int]:
        """Return (parameters that are not zero corrections, multiply-accumulates of posing and projecting a frame).

        Drawing comes on top: three multiply-accumulates and an exponential for every pixel of every outline.
        """
        where = sections(self.robot, len(self.links), self.optics.background)
        fixed = sum(len(self.parameters[part]) for part in (where.joints, where.cameras)
                    if not self.parameters[part].any())
        poses = len(self.robot.joints) * 3 + len(self.robot.links) * self.n_views
        return where.total - fixed, ELLIPSOID_MACS * len(self.links) * self.n_views + POSE_MACS * poses
