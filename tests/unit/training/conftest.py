"""A small picture of the built-in arm, and runs in a folder of their own."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.robot import load_robot, save_robot


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def small_robot(tmp_path_factory):
    """The path of arm4 seen in 32x32 px."""
    spec = load_robot("arm4")
    view, scale = spec.cameras[0], 32 / spec.cameras[0].width
    small = replace(view, width=32, height=32, fx=view.fx * scale, fy=view.fy * scale, cx=view.cx * scale,
                    cy=view.cy * scale, world_to_cam=np.array(view.world_to_cam))
    folder = tmp_path_factory.mktemp("robot")
    save_robot(replace(spec, cameras=(small,)), folder)
    return str(folder)
