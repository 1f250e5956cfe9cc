"""A small picture of the built-in arm, and runs in a folder of their own."""


import pytest

from edgekin.robot import save_robot
from tests.small_arm import small_arm


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def small_robot(tmp_path_factory):
    """The path of arm4 seen in 32x32 px."""
    folder = tmp_path_factory.mktemp("robot")
    save_robot(small_arm(32, 32), folder)
    return str(folder)
