"""edgekin collect and robots as a user types them."""

import json
import subprocess
import sys

import pytest

from edgekin.sim.dataset import load_dataset

pytest.importorskip("pybullet", reason="needs PyBullet: pip install 'edgekin[train]'")


def edgekin(folder, *args):
    return subprocess.run([sys.executable, "-m", "edgekin", *args], cwd=folder, capture_output=True, text=True,
                          env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(p for p in sys.path if p)})


def test_collect_writes_data_where_the_next_step_looks_and_prints_coverage(tmp_path):
    done = edgekin(tmp_path, "collect", "--samples", "120", "--workers", "1", "--preview", "p.png", "--json", "c.json")
    assert done.returncode == 0, done.stderr
    assert "coverage" in done.stdout
    assert len(load_dataset(tmp_path / "data" / "arm4-lorenz-0.npz")) == 120
    entry = json.loads((tmp_path / "c.json").read_text())
    assert next(iter(entry)) == "schema"
    assert entry["schema"] == "edgekin.collect/1"
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    again = edgekin(tmp_path, "collect", "--samples", "120", "--workers", "1")
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert len(again.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("args", "text"), [
    (("collect", "nowhere.urdf"), "not found"), (("collect", "--samples", "1"), "expected at least 2"),
    (("collect", "--import", "nowhere"), "is no folder"), (("robots", "nowhere.urdf"), "not found"),
    (("collect", "--samples", "50", "--workers", "1", "--out", "/proc/x.npz"), "cannot write"),
])
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, args, text):
    done = edgekin(tmp_path, *args)
    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.rglob("*")) == []


def test_wrong_usage_has_its_own_status(tmp_path):
    assert edgekin(tmp_path, "collect", "--excitation", "walk").returncode == 2


def test_robots_lists_the_builtin_arm_and_shows_joints(tmp_path):
    assert "arm4" in edgekin(tmp_path, "robots").stdout
    shown = edgekin(tmp_path, "robots", "arm4").stdout
    assert "shoulder" in shown
    assert "camera 100x100" in shown
