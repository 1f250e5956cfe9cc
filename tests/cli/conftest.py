"""What commands that train need: a small robot, and runs in a folder of their own."""

import pytest

from edgekin.robot import save_robot
from tests.small_arm import small_arm


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The folder of the runs."""
    monkeypatch.setenv("EDGEKIN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "runs"


@pytest.fixture
def robot(tmp_path):
    """The path of arm4 seen in 24x24 px."""
    folder = tmp_path / "robot"
    folder.mkdir()
    save_robot(small_arm(24, 24), folder)
    return str(folder)
