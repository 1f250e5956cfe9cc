"""edgekin compare end to end, tiny: files, schema, going on after a kill, and every refusal."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from click import UsageError

from edgekin.cli import cli
from edgekin.errors import EdgekinError
from edgekin.robot import load_robot

for package in ("torch", "matplotlib", "jinja2", "onnx", "onnxruntime"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'edgekin[train,report]'")
TWO = ("--models", "neurokin-frames,k3dgs")
ROW = {"model", "psnr_db", "iou", "depth_mae_m", "parameters", "macs", "bytes", "latency_us", "train_seconds"}


pytestmark = pytest.mark.usefixtures("runs")


def edgekin(*args):
    cli.main([str(a) for a in args], standalone_mode=False)


def pieces(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "pieces").glob("*.json")}


def test_a_comparison_is_whole_and_goes_on_after_a_kill(robot, runs, tmp_path, capsys):
    """A real process, really killed: what it finished is not done again."""
    out = tmp_path / "out"
    args = ("compare", robot, *TWO, "--budget", "0.005", "--jobs", "2", "--out", str(out))
    process = subprocess.Popen([sys.executable, "-m", "edgekin", *args], stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while not len(pieces(out)) >= 3 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, stderr
    before = pieces(out)
    assert len(before) >= 3
    assert not (out / "compare.json").exists()

    edgekin(*args, "--jobs", 1, "--json", tmp_path / "c.json")
    after = pieces(out)
    assert len(after) > len(before)
    assert {name: after[name] for name in before} == before
    result = json.loads((tmp_path / "c.json").read_text())
    assert result == json.loads((out / "compare.json").read_text())
    assert list(result)[:3] == ["schema", "revision", "seed"]
    assert result["schema"] == "edgekin.compare/1"
    assert {"machine", "robot", "protocol", "rows", "floors", "published", "data_efficiency",
            "ablations"} <= set(result)
    assert {row["model"] for row in result["rows"]} == {"neurokin-frames", "k3dgs"}
    for row in result["rows"]:
        assert set(row) >= ROW
        assert set(row["latency_us"]) == {"torch", "onnxruntime", "native"}
        for engine, found in row["latency_us"].items():
            assert (found is None) == (engine in row["why_not"])
            assert found is None or found["p50"] > 0
        assert row["bytes"] > 0
    by_name = {row["model"]: row for row in result["rows"]}
    assert by_name["k3dgs"]["latency_us"]["onnxruntime"] is None
    assert by_name["neurokin-frames"]["latency_us"]["onnxruntime"]["n"] >= 20
    assert set(result["floors"]) == {"all_black", "mean_image", "nearest"}
    assert result["data_efficiency"]["samples"] == [25, 100, 400]
    assert all(len(points) == 3 for points in result["data_efficiency"]["models"].values())
    assert {a["name"] for a in result["ablations"]} >= {"angle noise", "depth", "latent size", "anisotropy"}
    assert (out / "compare.html").is_file()
    assert sorted(path.name for path in (out / "runs").iterdir()) == sorted(row["run"] for row in result["rows"])
    assert "floor: nearest training pose" in capsys.readouterr().out

    edgekin(*args)  # nothing is left to do
    assert pieces(out) == after
    with pytest.raises(EdgekinError, match=r"with seed 0, not 1.*--force"):
        edgekin(*args, "--seed", 1)


def test_a_run_stands_for_a_row_and_is_scored_on_the_same_samples(robot, runs, tmp_path):
    edgekin("train", "--robot", robot, "--model", "k3dgs", "--size", "s", "--samples", 64, "--steps", 30,
            "--name", "mine")
    edgekin("compare", "--robot", robot, "--models", "k3dgs", "--run", "k3dgs=mine", "--budget", 0.005, "--jobs", 1)
    folder = next(path for path in runs.iterdir() if path.name.startswith("compare-"))
    row = json.loads((folder / "compare.json").read_text())["rows"][0]
    assert (row["given"], row["size"], row["n_train"]) == ("mine", "s", 64)
    own = json.loads((runs / "mine" / "metrics.json").read_text())
    assert row["train_seconds"] == own["train_seconds"]
    assert row["psnr_db"] != own["psnr_db"]  # 200 test samples, not its own 1,000
    assert row["psnr_db"] == pytest.approx(own["psnr_db"], abs=1.0)
    with pytest.raises(EdgekinError, match="of another robot or camera"):
        edgekin("compare", "arm4", "--models", "k3dgs", "--run", "k3dgs=mine")
    with pytest.raises(EdgekinError, match="is of model k3dgs, not neurokin"):
        edgekin("compare", robot, "--run", "neurokin=mine")
    with pytest.raises(EdgekinError, match="which is not compared"):
        edgekin("compare", robot, "--models", "neurokin", "--run", "k3dgs=mine")


def test_a_signal_stops_every_worker_at_a_checkpoint(robot, tmp_path):
    """A training that would take minutes in each of two workers; what they had begun is gone on with."""
    out = tmp_path / "out"
    args = ("compare", robot, *TWO, "--budget", "1", "--jobs", "2", "--out", str(out))
    process = subprocess.Popen([sys.executable, "-m", "edgekin", *args], stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while len(list(out.glob("runs/*/checkpoint.safetensors"))) < 2 and time.monotonic() < limit:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "the same command goes on" in stderr
    assert not pieces(out)
    assert len(list(out.glob("runs/*/checkpoint.safetensors"))) == 2
    assert not list(out.glob("runs/*/metrics.json"))


def test_what_fails_in_a_worker_is_the_same_one_line(robot, tmp_path, monkeypatch):
    from edgekin.comparison.contestants import chosen
    from edgekin.comparison.pieces import Store
    from edgekin.comparison.plan import Piece, make_plan
    from edgekin.comparison.settings import PRESETS, CompareConfig
    from edgekin.comparison.workers import train_pieces

    config = CompareConfig(robot, models=("neurokin",), budget=0.001)
    plan = make_plan(config, PRESETS["quick"], (load_robot(robot), "x"), chosen(config.models))
    broken = [replace(p, config=replace(p.config, robot="nowhere.urdf")) for p in plan.pieces[:2]]
    assert isinstance(broken[0], Piece)
    with pytest.raises(EdgekinError, match=r"nowhere.urdf.*not found") as caught:
        train_pieces(Store(tmp_path / "s", {}, False), broken, 2, lambda word: None)
    assert caught.value.hint


@pytest.mark.parametrize(("args", "match"), [
    (("nowhere.urdf",), "not found"),
    (("arm4", "--models", "neurokim"), "Did you mean 'neurokin'"),
    (("arm4", "--budget", "0"), "budget is 0"),
    (("arm4", "--run", "k3dgs=nowhere"), "is no run"),
    (("arm4", "--json", "no/such/folder/c.json"), "cannot write"),
    (("arm4", "--out", "."), "holds no comparison"),
])
def test_what_cannot_be_done_is_one_clear_line(args, match, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(EdgekinError, match=match) as caught:
        edgekin("compare", *args)
    assert caught.value.exit_status == 1
    assert caught.value.hint
    assert not runs.exists() or not list(runs.iterdir())


def test_wrong_usage_is_said():
    with pytest.raises(UsageError, match="expected MODEL=RUN"):
        edgekin("compare", "--run", "mine")
    with pytest.raises(UsageError, match="two robots"):
        edgekin("compare", "arm4", "--robot", "other")


def test_a_missing_package_is_said_before_the_work(monkeypatch, runs):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "jinja2" else found(name, *a))
    with pytest.raises(EdgekinError, match=r"jinja2.*edgekin\[report\]"):
        edgekin("compare", "arm4")
    assert not runs.exists()
