"""edgekin calibrate-detector as a user meets it: a bundle with an inspector afterwards, JSON, and every refusal."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekin.bundle import DETECTOR, INSPECTION, KNOWN_ANSWERS, load_bundle, write_manifest
from edgekin.opening import inspector_config, open_body
from edgekin.robot import parse_events
from edgekin.runtime.inspector import Inspector
from edgekin.sim.dataset import Dataset, save_dataset
from edgekin.sim.episode import Episode
from tests.cli.refusals import assert_refused

ROOT = Path(__file__).resolve().parents[2]
#: Frames a second: as few as hold a motion together.
HZ = 5.0
QUICK = ("--camera-hz", HZ, "--hours", 0.17, "--fit-minutes", 1)


@pytest.fixture
def bundle(body_bundle, tmp_path):
    return shutil.copytree(body_bundle, tmp_path / "runs" / "arm" / "bundle")


@pytest.fixture
def edgekin(tmp_path):
    def call(*arguments):
        environment = {**os.environ, "EDGEKIN_RUNS": str(tmp_path / "runs"), "PYTHONPATH": str(ROOT), "COLUMNS": "200",
                       "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, "-m", "edgekin", "calibrate-detector", *map(str, arguments)],
                              cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)

    return call


def recording(path, robot, text="", bent=range(100), hz=HZ, stretches=40, **meta):
    """A dataset of stretches of 30 s, some of them with a damage."""
    parts = [frames for i in range(stretches)
             for frames in Episode(robot, parse_events(text) if text and i in bent else (), hz, 30.0, 10 + i)]
    data = Dataset(np.concatenate([part.joint_pos for part in parts]), np.concatenate([part.masks for part in parts]),
                   robot.cameras[0].width, meta)
    save_dataset(data, path)
    return path


def test_the_latest_bundle_gets_an_inspector_and_the_json_says_how(edgekin, bundle, tmp_path):
    before = load_bundle(bundle)
    done = edgekin(*QUICK, "--json", tmp_path / "c.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "c.json").read_text())
    assert next(iter(result)) == "schema"
    assert result["schema"] == "edgekin.calibrate-detector/1"
    assert {"revision", "seed", "bundle", "threshold", "calibration", "machine"} <= set(result)
    after = load_bundle(bundle)
    assert {name: entry for name, entry in after.manifest["files"].items() if name != INSPECTION} \
        == before.manifest["files"]
    config, record = inspector_config(after), after.inspection["calibration"]
    assert (config.threshold, config.camera_hz, record) == (result["threshold"], HZ, result["calibration"])
    assert (record["false_alarms_per_hour"], record["blocks"], record["seed"]) == (1.0, 20, 0)
    assert f"{config.threshold:.1f}" in done.stdout
    assert "below 18 an hour with 95% confidence; asked for: 1 an hour" in done.stdout
    assert "extrapolated beyond the hours watched" in done.stdout
    assert str(bundle / INSPECTION) in done.stdout
    with open_body(after) as engine, Inspector(engine, config) as inspector:
        frames = next(iter(Episode(after.robot, parse_events("bend:2:20"), HZ, 20.0, 7)))
        found = [inspector.update(*frame) for frame in zip(frames.joint_pos, frames.masks, frames.commanded,
                                                           strict=True)][-1]
    assert (found.alarm, found.named.part) == ("body damage", "upper_arm")


def test_what_is_there_is_replaced_only_by_force_and_another_seed_is_other_motion(edgekin, bundle):
    first = edgekin(bundle, *QUICK)
    assert first.returncode == 0, first.stderr
    old = load_bundle(bundle).inspection
    assert_refused(edgekin(bundle, *QUICK), 1, f"has an {INSPECTION} already; nothing was overwritten. Add --force")
    again = edgekin(bundle, *QUICK, "--force")
    assert again.returncode == 0, again.stderr
    assert load_bundle(bundle).inspection == old
    other = edgekin(bundle, *QUICK, "--force", "--seed", 1)
    assert other.returncode == 0, other.stderr
    new = load_bundle(bundle).inspection
    assert new["calibration"]["seed"] == 1
    assert new["mean"] != old["mean"]


def test_a_healthy_recording_calibrates_and_a_bent_one_is_refused(edgekin, bundle, tmp_path):
    robot = load_bundle(bundle).robot
    good = recording(tmp_path / "good.npz", robot)
    # The second, fourth ... stretch is watched, the others are learned from.
    for name, bent, says in (("all.npz", range(100), "not of the body that the model knows: link upper_arm turned by"),
                             ("fit.npz", (4,), "stretch 3 of 20 (frames 600 to 749) unlike the others: link upper_arm"),
                             ("watch.npz", (5,), "stretch 3 of 20 (frames 750 to 899) unlike the others: ")):
        assert_refused(edgekin(bundle, "--camera-hz", HZ, "--data",
                               recording(tmp_path / name, robot, "bend:2:10", bent)), 1, says)
    assert load_bundle(bundle).inspection == {}
    done = edgekin(bundle, "--camera-hz", HZ, "--data", good)
    assert done.returncode == 0, done.stderr
    assert "the data have no commands" in done.stdout
    record = load_bundle(bundle).inspection["calibration"]
    assert (record["data"], record["seed"], record["commands"]) == (str(good), None, False)


@pytest.mark.parametrize(("arguments", "says"), [
    (("--hours", 0.1), "0.1 hours are 12 stretches of 30 s to watch, too few for a threshold, expected 20. Watch 0.17"),
    (("--hours", 0.5, "--false-alarms-per-hour", 0.01), "600 times fewer than 0.5 hours watched support (6 an hour)"),
    (("--hours", 0.5, "--false-alarms-per-hour", 0.01), "Watch 3 hours or more (--hours"),
    (("--hours", -1), "--hours is -1, expected 0 to 10000"),
    (("--fit-minutes", 0.1), "--fit-minutes is 0.1, expected 0.556"),
    (("--camera-hz", 0), "--camera-hz is 0"),
    (("--false-alarms-per-hour", 0), "--false-alarms-per-hour is 0"),
    (("--seed", -1), "--seed is -1"),
    (("--data", "absent.npz"), "dataset absent.npz not found"),
    (("--data", "absent.npz", "--hours", 1), "with --data nothing is. Leave them out"),
    (("--json", "absent/c.json"), "cannot write absent/c.json")])
def test_a_plan_that_cannot_be_followed_is_one_line_with_the_remedy(edgekin, bundle, arguments, says):
    assert_refused(edgekin(bundle, *arguments), 1, says)
    assert load_bundle(bundle).inspection == {}


def test_recordings_that_are_no_motion_or_too_short_are_refused(edgekin, bundle, tmp_path):
    robot = load_bundle(bundle).robot
    short = recording(tmp_path / "short.npz", robot, stretches=10)
    assert_refused(edgekin(bundle, "--camera-hz", HZ, "--data", short), 1, "5 stretches of 30 s to watch, too few")
    poses = recording(tmp_path / "poses.npz", robot, stretches=2, excitation="sobol")
    assert_refused(edgekin(bundle, "--camera-hz", HZ, "--data", poses), 1, "has poses in no order")
    other = recording(tmp_path / "other.npz", robot, stretches=2, robot_sha256="0" * 64)
    assert_refused(edgekin(bundle, "--camera-hz", HZ, "--data", other), 1, "another robot or camera")


def test_a_bundle_without_a_body_model_says_how_to_get_one(edgekin, bundle, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("model.ekw", DETECTOR, KNOWN_ANSWERS, "robot.urdf", "robot.yaml"):
        shutil.copy(bundle / name, alone / name)
    write_manifest(alone, {"target": "native", "precision": "fp32", "body": None})
    assert_refused(edgekin(alone), 1, "has no body model. Train without --model and --no-body-model, and compile again")
    assert_refused(edgekin(tmp_path / "none"), 1, "does not exist")
