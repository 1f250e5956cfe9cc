"""Collecting data: drive the arm, measure its joints, render what the cameras see."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.robot import RobotSpec, robot_sha256
from edgekin.sim.dataset import Dataset, check_dataset
from edgekin.sim.excitation import coverage, sobol
from edgekin.sim.renderer import Renderer


def describe(spec: RobotSpec, joint_pos: NDArray[np.float64], seed: int, excitation: str, **more: Any) -> dict[str, Any]:
    """Return the metadata of a dataset of this robot."""
    shares = coverage(joint_pos, spec.limits)
    return {"robot": spec.path, "robot_sha256": robot_sha256(spec), "joints": [j.name for j in spec.actuated],
            "seed": seed, "excitation": excitation, "convention": spec.convention, "units": {"joint_pos": "rad"},
            "coverage": {j.name: round(float(c), 4) for j, c in zip(spec.actuated, shares, strict=True)}, **more}


def uniform_dataset(spec: RobotSpec, n: int, seed: int) -> Dataset:
    """Return n scrambled-Sobol poses over the full limits, rendered where they are: no dynamics, no noise."""
    q = sobol(n, spec.limits, seed)
    with Renderer(spec) as renderer:
        packed = renderer.masks(q)
    data = Dataset(q, packed, spec.cameras[0].width, describe(spec, q, seed, "sobol", physics=False))
    check_dataset(data, "the rendered data")
    return data
