"""edgekin drift as a user meets it: estimates beside the truth, the tip with and without them, JSON, PNG, refusals."""

import json
import shutil

import numpy as np
import pytest

from edgekin.adapting.drift import DriftPlan, drift
from edgekin.errors import ConfigError
from tests.cli.refusals import assert_refused
from tests.cli.test_adapt import run


@pytest.fixture
def bundle(inspected_bundle, tmp_path):
    return shutil.copytree(inspected_bundle, tmp_path / "runs" / "arm" / "bundle")


def test_pictures_tell_which_encoder_is_off_and_the_tip_misses_by_less(bundle, tmp_path):
    done = run(tmp_path, "drift", "--damage", "encoder-bias:2:1@2", "--seconds", 40, "--camera-hz", 20,
               "--json", tmp_path / "d.json", "--png", tmp_path / "d.png")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "d.json").read_text())
    assert next(iter(result)) == "schema"
    assert result["schema"] == "edgekin.drift/1"
    assert {"revision", "seed", "machine", "settings", "joints"} <= set(result)
    last = result["looks"][-1]
    known = {one["joint"]: one for one in last["drift"]}
    joint = result["joints"][1]
    assert last["true_deg"][1] == pytest.approx(1.0, abs=0.2)
    assert known[joint]["low"] > 0
    assert known[joint]["low"] - 0.2 < 1.0 < known[joint]["high"] + 0.2
    assert 2.0 < result["first_s"][joint] < 40.0
    assert last["corrected_mm"] < 0.6 * last["tip_mm"]
    before = next(look for look in result["looks"] if look["tip_mm"] is not None)
    assert before["tip_mm"] == pytest.approx(last["tip_mm"])  # a bias stays
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
    assert joint in done.stdout
    assert "corrected by pictures" in done.stdout


def test_the_same_seed_tells_the_same(bundle):
    plan = DriftPlan("encoder-drift:1:20", seconds=10.0, camera_hz=20.0)
    first, again = drift(bundle, plan), drift(bundle, plan)
    assert first == again
    assert len(first.tips) == 1
    assert np.diff([look.true_deg[0] for look in first.looks]).mean() == pytest.approx(20 / 60, abs=0.1)


@pytest.mark.parametrize("damage", ["bend:2:10", "encoder-bias:2:1+lost:2", ""])
def test_only_encoders_drift(damage):
    with pytest.raises(ConfigError, match="what happens to encoders"):
        DriftPlan(damage).validated()


def test_bad_input_is_refused_in_a_line(bundle, tmp_path):
    assert_refused(run(tmp_path, "drift", "--damage", "encoder-bias:9:1"), 1, "9")
    assert_refused(run(tmp_path, "drift", "--seconds", "2"), 1, "--seconds")
    (tmp_path / "d.json").write_text("{}")
    assert_refused(run(tmp_path, "drift", "--json", tmp_path / "d.json"), 1, "--force")
    assert (tmp_path / "d.json").read_text() == "{}"
