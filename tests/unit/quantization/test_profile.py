"""Calibration profiles and recorded calibrations: round trips and refusals."""

from pathlib import Path

import numpy as np
import pytest

from edgekin.errors import ConfigError
from edgekin.quantization.profile import Calibration, CalibrationProfile, LayerRange, load_profile, samples_sha256

DEFAULT = Path(__file__).parents[3] / "calibration" / "default.yaml"


def write(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text("schema: edgekin.calibration-profile/1\n" + text)
    return path


def test_the_default_file_is_the_built_in_default():
    from dataclasses import replace

    assert replace(load_profile(DEFAULT), source="built-in") == CalibrationProfile()


def test_missing_keys_keep_their_defaults(tmp_path):
    profile = load_profile(write(tmp_path, "method: entropy\n"))
    assert (profile.method, profile.samples) == ("entropy", CalibrationProfile().samples)


@pytest.mark.parametrize(("text", "says"), [
    ("sampels: 64\n", "Did you mean 'samples'"),
    ("source: elsewhere\n", "source is not for a file"),
    ("method: entropie\n", "did you mean 'entropy'"),
    ("poses: trian\n", "did you mean 'train'"),
    ("samples: 8\n", "asks for 8 poses, need >= 32"),
    ("samples: many\n", "expected a whole number"),
    ("samples: true\n", "expected a whole number"),
    ("percentile: 10\n", "from 90 to 100"),
    ("percentile: [1]\n", "expected a number"),
    ("percentile: .nan\n", "from 90 to 100"),
    ("- a\n", "not valid YAML"),
])
def test_a_bad_profile_is_refused_naming_file_and_value(tmp_path, text, says):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_profile(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_a_profile_without_schema_or_mapping_is_refused(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("method: mse\n")
    with pytest.raises(ConfigError, match="schema is None"):
        load_profile(path)
    path.write_text("- 1")
    with pytest.raises(ConfigError, match="no mapping"):
        load_profile(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_profile(tmp_path / "absent.yaml")


def calibration():
    layers = {"linear0": LayerRange("linear", "mse", 3.0, 2.54, 0.02)}
    digest = samples_sha256(np.zeros((64, 4)))
    return Calibration(layers, "auto", 99.99, "train", 64, digest, 0, "built-in", "train.npz")


def test_a_calibration_survives_its_file(tmp_path):
    path = tmp_path / "calibration.json"
    calibration().save(path)
    assert Calibration.load(path) == calibration()
    assert Calibration.load(path).scales == {"linear0": 0.02}


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "edgekin.calibration/1"}', '{"schema": "other/1"}'])
def test_a_damaged_calibration_is_refused(tmp_path, text):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"calibration\.json"):
        Calibration.load(path)


def test_the_sample_hash_sees_every_angle():
    a = np.zeros((32, 4))
    b = a.copy()
    b[-1, -1] = 1e-12
    assert samples_sha256(a) != samples_sha256(b)
