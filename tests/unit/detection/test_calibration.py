"""Calibration on synthetic residuals: quiet on fresh healthy data, quick on damage, honest about what it knows."""

import json

import numpy as np
import pytest

from edgekin.detection import calibrate, score_dataset
from edgekin.detection.calibration import Regions, cusum_peaks, fit_regions, k_means
from edgekin.errors import DataError
from edgekin.runtime.detector import DetectorConfig, NativeDetector

LIMITS = np.array([[-1.5, 1.5]] * 3)


def healthy(seed, trajectories=60, frames=200):
    """Slow random trajectories and a residual that is a smooth function of the pose plus a little noise."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(trajectories), frames)
    t = np.arange(frames) / 100
    rate, phase = rng.uniform(0.3, 1.2, (trajectories, 1, 3)), rng.uniform(0.0, 6.3, (trajectories, 1, 3))
    q = 1.4 * np.sin(rate * t[None, :, None] + phase).reshape(-1, 3)
    residual = 0.05 + 0.02 * np.sin(2 * q[:, 0]) + 0.01 * np.cos(3 * q[:, 1]) + rng.normal(0, 0.001, len(q))
    return np.abs(residual), q, ids


def test_a_calibrated_detector_is_quiet_on_other_seeds_and_quick_on_damage():
    config = calibrate(*healthy(0), LIMITS)
    regions = Regions(*(np.array(config[name], dtype=np.float32) for name in ("centroids", "mean", "std")))
    fresh_nll, fresh_q, fresh_ids = healthy(99)
    z = regions.standardize(fresh_nll, fresh_q)
    assert cusum_peaks(z, fresh_ids, config["k"], config["z_clip"], 10.0).max() < config["h"]
    damaged_z = regions.standardize(fresh_nll + 1.0, fresh_q)[:20]
    damaged = cusum_peaks(damaged_z, fresh_ids[:20], config["k"], config["z_clip"], 1.0)
    assert damaged.max() > config["h"]


def test_the_result_is_json_and_what_the_c_detector_takes():
    config = json.loads(json.dumps(calibrate(*healthy(1), LIMITS)))
    NativeDetector(DetectorConfig.from_json(config))
    assert config["schema"] == "edgekin.detector/1"
    assert config["n_regions"] == len(config["mean"]) == 32
    assert config["stale_ns"] == 3_000_000


def test_the_bound_on_false_alarms_is_what_the_time_supports():
    record = calibrate(*healthy(2), LIMITS)["calibration"]
    assert record["verified_alarms"] == 0
    assert record["false_alarms_per_hour_below"] == pytest.approx(3 / record["verified_hours"])
    assert record["verified_hours"] == pytest.approx(20 * 200 / 100 / 3600)


def test_alarms_of_the_verification_are_recorded_and_no_bound_is_claimed():
    residual, q, ids = healthy(3)
    residual[ids % 3 == 2] += 0.5  # the third part is unlike the others
    record = calibrate(residual, q, ids, LIMITS)["calibration"]
    assert record["verified_alarms"] > 0
    assert record["false_alarms_per_hour_below"] is None


def test_calibration_leaves_nothing_to_chance():
    assert calibrate(*healthy(4), LIMITS) == calibrate(*healthy(4), LIMITS)


def test_k_means_finds_separate_clusters():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    found = k_means(np.concatenate([c + rng.normal(0, 0.1, (50, 2)) for c in centres]), 3)
    distance = np.linalg.norm(found[:, None] - centres[None], axis=2)
    assert sorted(distance.argmin(axis=1)) == [0, 1, 2]
    assert distance.min(axis=1).max() < 0.1


def test_a_constant_residual_still_gives_a_positive_spread():
    _, q, _ = healthy(5)
    assert (fit_regions(np.full(len(q), 0.1), q).std > 0).all()


def test_an_arm_that_never_moves_is_one_region():
    regions = fit_regions(np.full(200, 0.1), np.zeros((200, 3)))
    assert len(regions.mean) == 1


@pytest.mark.parametrize("spoil", ["few", "nan", "lengths", "limits"])
def test_unusable_data_are_refused(spoil):
    residual, q, ids = healthy(6)
    limits = LIMITS
    if spoil == "few":
        residual, q, ids = residual[:50], q[:50], ids[:50]
    elif spoil == "nan":
        residual[7] = np.nan
    elif spoil == "lengths":
        ids = ids[:-1]
    else:
        limits = LIMITS[:2]
    with pytest.raises(DataError):
        calibrate(residual, q, ids, limits)


def test_score_dataset_gives_nats_per_pixel_in_order():
    class Engine:
        def run(self, pose):
            self.pose = pose

        def score(self, packed):
            return type("Score", (), {"nll": float(self.pose[0] * packed.sum()), "n_pixels": 8})()

    packed = np.ones((3, 1, 1, 1), np.uint8)
    np.testing.assert_allclose(score_dataset(Engine(), np.array([[1.0], [2.0], [4.0]]), packed), [0.125, 0.25, 0.5])
