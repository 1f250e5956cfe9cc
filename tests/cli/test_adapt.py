"""edgekin adapt as a user meets it: a table, a file beside the bundle that is taken away again, JSON, PNG, refusals."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekin.bundle import load_bundle
from edgekin.errors import ConfigError
from edgekin.opening import adaptation_path, adapted_body, inspector_config
from edgekin.robot import parse_events
from edgekin.sim.dataset import Dataset, save_dataset
from edgekin.sim.episode import Episode
from tests.cli.refusals import assert_refused

ROOT = Path(__file__).resolve().parents[2]
HZ = 20.0


def run(folder, *arguments):
    environment = {**os.environ, "EDGEKIN_RUNS": str(folder / "runs"), "PYTHONPATH": str(ROOT), "COLUMNS": "200",
                   "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "edgekin", *map(str, arguments)], cwd=folder, env=environment,
                          capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def bundle(inspected_bundle, tmp_path):
    return shutil.copytree(inspected_bundle, tmp_path / "runs" / "arm" / "bundle")


@pytest.fixture
def edgekin(tmp_path):
    return lambda *arguments: run(tmp_path, "adapt", "--camera-hz", HZ, *arguments)


def test_the_latest_bundle_adapts_and_stays_as_it_was(edgekin, bundle, tmp_path):
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    done = edgekin("--damage", "bend:2:20", "--json", tmp_path / "a.json", "--png", tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "a.json").read_text())
    assert next(iter(result)) == "schema"
    assert result["schema"] == "edgekin.adapt/1"
    assert {"revision", "seed", "machine", "settings", "judge_ms"} <= set(result)
    assert (result["state"], result["damage"], result["given_back_exactly"]) == ("adapted", "bend:2:20", True)
    bodies = result["bodies"]
    assert bodies["adapted"]["psnr_db"] > bodies["damaged"]["psnr_db"] + 1.0
    assert bodies["adapted"]["tip_mm"] < 0.2 * bodies["damaged"]["tip_mm"]
    assert result["gap_closed"] > 0.5
    assert result["frames"] == 58
    assert "given back: predictions are the model's, bit for bit" in done.stdout
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    loaded = load_bundle(bundle)
    held = adapted_body(loaded, inspector_config(loaded))
    assert held.sizes.tolist() == result["sizes_rad_or_share"]
    assert (held.offsets.any(), held.lost, result["lost"]) == (False, 0, None)
    assert_refused(edgekin(bundle), 1, "bundle.adaptation.json exists already. Choose another --out, or overwrite it")
    bent = run(tmp_path, "bench", bundle, "--hz", 100, "--camera-hz", 50, "--seconds", 2, "--damage", "bend:2:20@0",
               "--adapted", "--adapt", "--json", tmp_path / "b.json")
    assert bent.returncode == 0, bent.stderr
    told = json.loads((tmp_path / "b.json").read_text())["adaptation"]
    assert (told["steps"][0]["state"], told["pictures"] > 20) == ("adapted", True)
    assert "adaptation: adapted at" in bent.stdout
    rolled = edgekin(bundle, "--rollback")
    assert rolled.returncode == 0, rolled.stderr
    assert not adaptation_path(loaded).exists()
    assert_refused(edgekin(bundle, "--rollback"), 1, "does not exist: the model is as it was trained")
    assert_refused(run(tmp_path, "bench", bundle, "--adapted"), 1, "Run: edgekin adapt")
    assert_refused(run(tmp_path, "bench", bundle, "--adapt", "--no-inspect"), 1, "need an inspector. Leave --no-")


def test_a_lost_link_is_taken_over_and_the_loop_begins_without_it(edgekin, bundle, tmp_path):
    done = edgekin("--damage", "lost:3", "--json", tmp_path / "a.json")
    assert done.returncode == 0, done.stderr
    assert "lost of forearm" in done.stdout
    result = json.loads((tmp_path / "a.json").read_text())
    assert (result["changes"][-1], result["lost"], result["given_back_exactly"]) == ("lost of forearm", "forearm", True)
    assert result["gap_closed"] > 0.5
    assert result["repaired_loss_db"] == 0.0  # the link is there again, and that is seen
    loaded = load_bundle(bundle)
    held = adapted_body(loaded, inspector_config(loaded))
    assert loaded.robot.links[held.lost].name == "forearm"
    lost = run(tmp_path, "bench", bundle, "--hz", 100, "--camera-hz", 50, "--seconds", 2, "--damage", "lost:3@0",
               "--adapted", "--json", tmp_path / "b.json")
    assert lost.returncode == 0, lost.stderr
    assert json.loads((tmp_path / "b.json").read_text())["detection"]["alarm"] == ""
    assert edgekin(bundle, "--rollback").returncode == 0


def test_what_cannot_be_fitted_is_patched_and_nothing_is_written(edgekin, bundle, tmp_path):
    done = edgekin("--damage", "tool:10", "--seconds", 0, "--seed", 3, "--json", tmp_path / "a.json")
    assert_refused(done, 3, "the body is the model's still")
    assert "model with a linear patch (adapted)" in done.stdout
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["patch"]["state"] == "adapted"
    assert result["bodies"]["patched"]["psnr_db"] > result["bodies"]["damaged"]["psnr_db"] + 1.0
    assert not adaptation_path(load_bundle(bundle)).exists()


def test_a_recording_is_adapted_to(edgekin, bundle, tmp_path):
    robot = load_bundle(bundle).robot
    frames = next(Episode(robot, parse_events("bend:2:20@3"), HZ, 12.0, 5).chunks(1000))
    save_dataset(Dataset(frames.joint_pos, frames.masks, robot.cameras[0].width, {}), tmp_path / "arm.npz")
    done = edgekin("--data", tmp_path / "arm.npz", "--out", tmp_path / "mine.json")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "mine.json").read_text())
    assert (content["data"], content["damage"]) == (str(tmp_path / "arm.npz"), None)
    assert "bend of upper_arm" in content["changes"][0]
    save_dataset(Dataset(frames.joint_pos[:40], frames.masks[:40], robot.cameras[0].width, {}), tmp_path / "short.npz")
    assert_refused(edgekin("--data", tmp_path / "short.npz"), 1, "40 frames, of which 30 may be fitted to")


@pytest.mark.parametrize(("arguments", "says"), [
    (("--frames", 10), "--frames is 10, expected 39"),
    (("--seed", -1), "--seed is -1"),
    (("--seconds", -1), "--seconds is -1"),
    (("--damage", "latency:50"), "shows only in time, and no body is fitted to that"),
    (("--damage", "bend:9:5"), "names number 9, expected 1 to 4"),
    (("--damage", ""), "--damage is empty"),
    (("--data", "absent.npz"), "dataset absent.npz not found"),
    (("--json", "absent/a.json"), "cannot write absent/a.json"),
    (("--png", "absent/a.png"), "cannot write absent/a.png")])
def test_a_plan_that_cannot_be_followed_is_one_line_with_the_remedy(edgekin, bundle, arguments, says):
    assert_refused(edgekin(*arguments), 1, says)


def test_training_needs_the_run_and_a_simulated_arm(edgekin, bundle):
    assert_refused(edgekin("--retrain"), 1, "is no run")
    assert_refused(edgekin("--retrain", "--data", "absent.npz"), 1, "Leave one of them out")


def test_a_bundle_without_inspector_or_body_says_what_to_run(edgekin, body_bundle, tmp_path):
    assert_refused(edgekin(body_bundle, "--out", tmp_path / "a.json"), 1, "its inspector was never calibrated. Run: ")
    assert_refused(edgekin(tmp_path / "none"), 1, "does not exist")


@pytest.mark.parametrize(("change", "says"), [
    ({"body_sha256": "0" * 64}, "is no adaptation of the body model of bundle"),
    ({"schema": "edgekin.adaptation/2"}, "is no adaptation"),
    ({"sizes": [0.1]}, "holds no sizes of"), ({"sizes": None}, "holds no sizes of"),
    ({"sizes": "x"}, "holds no sizes of"), ({"offsets_rad": [0.1]}, "holds no offsets of"),
    ({"worse": 0.5}, "a misfit is 0.5 times as high, expected 1 to 100"), ({"worse": "x"}, "a misfit is 'x' times"),
    ({"lost": "tail"}, "says that 'tail' is lost, which is no link of the robot")])
def test_adaptations_of_another_body_are_refused(inspected_bundle, tmp_path, change, says):
    from edgekin.opening import ADAPTATION_SCHEMA, body_sha256

    bundle = load_bundle(inspected_bundle)
    config, path = inspector_config(bundle), tmp_path / "a.json"
    good = {"schema": ADAPTATION_SCHEMA, "body_sha256": body_sha256(bundle),
            "sizes": np.zeros(len(config.deviations)).tolist(), "offsets_rad": np.zeros(len(config.joints)).tolist()}
    path.write_text(json.dumps(good))
    held = adapted_body(bundle, config, path)
    assert (held.sizes.any(), held.offsets.any(), held.lost) == (False, False, 0)
    path.write_text(json.dumps(good | change))
    with pytest.raises(ConfigError, match=says):
        adapted_body(bundle, config, path)
