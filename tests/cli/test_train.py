"""edgekin train and evaluate end to end, small: files, JSON, resume, and every refusal."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click import UsageError

from edgekin.cli import cli
from edgekin.errors import EdgekinError
from edgekin.robot import load_robot

pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


pytestmark = pytest.mark.usefixtures("runs")


def edgekin(*args):
    cli.main([str(a) for a in args], standalone_mode=False)


def small(robot, *more):
    return ("train", "--robot", robot, "--size", "s", "--samples", 64, "--steps", 20, *more)


def test_a_run_holds_what_the_next_steps_need(robot, runs, tmp_path, capsys):
    from edgekin.training.run import latest_run, load_run

    edgekin(*small(robot, "--name", "one", "--json", tmp_path / "t.json"))
    assert sorted(path.name for path in (runs / "one").iterdir()) == [
        "body", "curves.png", "metrics.json", "model.safetensors", "robot.urdf", "robot.yaml", "robot_meshes.npz",
        "run.json", "test.npz", "train.npz"]
    assert (runs / "one" / "body" / "model.safetensors").is_file()
    metrics = json.loads((tmp_path / "t.json").read_text())
    assert metrics == json.loads((runs / "one" / "metrics.json").read_text())
    assert next(iter(metrics)) == "schema"
    assert metrics["schema"] == "edgekin.train/1"
    for key in ("revision", "seed", "model", "parameters", "macs", "train_seconds", "protocol", "n_train", "n_test",
                "psnr_db", "iou"):
        assert key in metrics
    assert set(metrics["floors"]) == {"all_black", "mean_image", "nearest"}
    assert all(set(floor) == {"psnr_db", "iou"} for floor in metrics["floors"].values())
    run = load_run(latest_run())
    assert run.path == runs / "one"
    assert (len(run.train), len(run.test)) == (metrics["n_train"], metrics["n_test"]) == (64, 1000)
    assert not np.isin(run.test.joint_pos[:, 0], run.train.joint_pos[:, 0]).any()
    assert run.model()(__import__("torch").zeros(2, 4)).shape == (2, 1, 24, 24)
    assert run.train_config.steps == 20
    assert "floor: nearest" in capsys.readouterr().out


@pytest.mark.parametrize("alone", [("--model", "neurokin"), ("--no-body-model",)])
def test_a_decoder_can_be_trained_alone(robot, runs, alone):
    (runs.parent / "t.yaml").write_text("teacher: body\n")
    edgekin(*small(robot, "--name", "one", *alone, "--config", runs.parent / "t.yaml"))
    assert not (runs / "one" / "body").exists()
    assert json.loads((runs / "one" / "run.json").read_text())["config"]["teacher"] is None
    for wrong in (("--model", "k3dgs"), ("--teacher", "one")):
        with pytest.raises(UsageError, match="a decoder alone"):
            edgekin(*small(robot, "--name", "two", "--no-body-model", *wrong))


def test_the_decoder_with_depth_is_distilled_from_a_body_that_learned_it(robot, runs, capsys):
    edgekin(*small(robot, "--name", "both", "--model", "resneurokin-d"))
    metrics = json.loads((runs / "both" / "metrics.json").read_text())
    assert metrics["depth_mae_m"] > 0
    assert metrics["body"]["depth_mae_m"] > 0
    assert "depth error mm" in capsys.readouterr().out
    with pytest.raises(EdgekinError, match="draws what the robot's own camera sees"):
        edgekin(*small(robot, "--name", "many", "--protocol", "views", "--teacher", "both"))


def test_evaluate_repeats_the_score_of_training(robot, runs, tmp_path, capsys):
    edgekin(*small(robot, "--name", "one"))
    edgekin("evaluate", "--json", tmp_path / "e.json")
    edgekin("evaluate", runs / "one", "--data", runs / "one" / "test.npz")
    found, trained = (json.loads(p.read_text()) for p in (tmp_path / "e.json", runs / "one" / "metrics.json"))
    assert found["schema"] == "edgekin.evaluate/1"
    assert found["psnr_db"] == pytest.approx(trained["psnr_db"], abs=1e-4)
    assert found["floors"] == trained["floors"]


def test_flags_stand_over_the_file(robot, runs, tmp_path):
    (tmp_path / "t.yaml").write_text("size: l\nbudget_s: 900\nseed: 4\nname: filed\ntest_samples: 30\n")
    edgekin(*small(robot, "--config", tmp_path / "t.yaml"))
    config = json.loads((runs / "filed" / "run.json").read_text())["config"]
    assert (config["size"], config["steps"], config["budget_s"], config["seed"]) == ("s", 20, None, 4)
    assert config["test_samples"] == 30


def test_a_file_of_samples_is_trained_on(robot, runs):
    from edgekin.sim.collect import uniform_dataset
    from edgekin.sim.dataset import save_dataset

    save_dataset(uniform_dataset(load_robot(robot), 100, 3), runs.parent / "d.npz")
    edgekin("train", "--robot", robot, "--no-body-model", "--size", "s", "--steps", 5, "--data", runs.parent / "d.npz",
            "--name", "d")
    metrics = json.loads((runs / "d" / "metrics.json").read_text())
    assert (metrics["n_train"], metrics["n_test"]) == (80, 20)
    with pytest.raises(EdgekinError, match="24x24 px"):
        edgekin("train", "--data", runs.parent / "d.npz", "--steps", 5)
    content = (runs.parent / "d.npz").read_bytes()
    (runs.parent / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(EdgekinError, match="truncated"):
        edgekin("train", "--robot", robot, "--data", runs.parent / "cut.npz", "--steps", 5)
    with pytest.raises(EdgekinError, match="truncated"):
        edgekin("evaluate", runs / "d", "--data", runs.parent / "cut.npz")
    assert [path.name for path in runs.iterdir()] == ["d"]


def test_a_taken_name_is_kept_without_force(robot, runs):
    edgekin(*small(robot, "--name", "one"))
    before = (runs / "one" / "model.safetensors").read_bytes()
    with pytest.raises(EdgekinError, match=r"exists already.*--force"):
        edgekin(*small(robot, "--name", "one", "--seed", 1))
    assert (runs / "one" / "model.safetensors").read_bytes() == before
    edgekin(*small(robot, "--name", "one", "--seed", 1, "--force"))
    assert (runs / "one" / "model.safetensors").read_bytes() != before
    (runs / "precious").mkdir()
    (runs / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(EdgekinError, match="no run of edgekin"):
        edgekin(*small(robot, "--name", "precious", "--force"))
    assert (runs / "precious" / "thesis.txt").exists()


@pytest.mark.parametrize(("args", "match"), [
    (("evaluate",), "no finished run.*Run: edgekin train"),
    (("evaluate", "nowhere"), "is no run.*Run: edgekin train"),
    (("evaluate", "."), "neither a run"),
    (("train", "--resume"), "no interrupted run"),
    (("train", "--resume", "--name", "nowhere"), "is no run"),
    (("train", "--robot", "nowhere.urdf"), "not found"),
    (("train", "--size", "xl"), "no size 'xl'"),
    (("train", "--model", "neurokim"), "Did you mean 'neurokin'"),
    (("train", "--samples", "1"), "samples is 1"),
    (("train", "--budget", "0"), "budget_s is 0"),
    (("train", "--steps", "5", "--budget", "5"), "both 5 steps and a budget"),
    (("train", "--name", "../up"), "cannot be a folder"),
    (("train", "--data", "none.npz"), "not found"),
    (("train", "--data", "none.npz", "--protocol", "uniform"), "both data"),
    (("train", "--json", "no/such/folder/t.json"), "cannot write"),
    (("train", "--config", "none.yaml"), "cannot be read"),
])
def test_what_cannot_be_done_is_one_clear_line(args, match, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgekinError, match=match) as caught:
        edgekin(*args)
    assert caught.value.exit_status == 1
    assert caught.value.hint
    assert not runs.exists() or not list(runs.iterdir())


def test_an_unknown_key_of_the_file_is_answered(tmp_path):
    (tmp_path / "t.yaml").write_text("sise: l\n")
    with pytest.raises(EdgekinError, match="Did you mean 'size'"):
        edgekin("train", "--config", tmp_path / "t.yaml")


def test_resume_takes_no_other_settings():
    with pytest.raises(UsageError, match="size"):
        edgekin("train", "--resume", "--size", "s")


def test_an_unwritable_place_is_refused(robot, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGEKIN_RUNS", str(tmp_path / "file"))
    with pytest.raises(EdgekinError, match="cannot write"):
        edgekin(*small(robot))


def test_an_interrupted_run_is_resumed_to_its_end(robot, runs):
    """A real process, a real signal."""
    command = [sys.executable, "-m", "edgekin", "train", "--robot", robot, "--size", "s", "--samples", "64",
               "--steps", "100000", "--name", "cut"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    checkpoint, limit = runs / "cut" / "checkpoint.safetensors", time.monotonic() + 60
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert not (runs / "cut" / "metrics.json").exists()
    with pytest.raises(EdgekinError, match=r"unfinished.*--resume"):
        edgekin("evaluate", "cut")
    with pytest.raises(EdgekinError, match=r"unfinished.*--resume"):
        edgekin(*small(robot, "--name", "cut"))
    run = json.loads((runs / "cut" / "run.json").read_text())
    run["config"]["steps"] = 5  # already passed: the resumed training has only its end left
    (runs / "cut" / "run.json").write_text(json.dumps(run))
    edgekin("train", "--resume")
    metrics = json.loads((runs / "cut" / "metrics.json").read_text())
    assert metrics["steps"] >= 1
    assert not checkpoint.exists()
    with pytest.raises(EdgekinError, match="nothing to resume"):
        edgekin("train", "--resume", "--name", "cut")
