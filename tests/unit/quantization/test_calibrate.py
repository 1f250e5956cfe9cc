"""Choosing the poses and the scales of a calibration."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.errors import ConfigError, DataError
from edgekin.models.reference import activations
from edgekin.quantization.calibrate import (
    CalibrationSource,
    Calibrator,
    fidelity_db,
    resolved,
    select_poses,
    sigmoid,
    split,
    with_overrides,
)
from edgekin.quantization.observers import METHODS
from edgekin.quantization.profile import CalibrationProfile
from edgekin.quantization.qgraph import quantize_graph
from edgekin.sim.excitation import sobol
from edgekin.training.protocols import TEST_SEED_OFFSET

LIMITS = np.array([[-1.5, 1.5]] * 4)


def profile(**changes):
    return CalibrationProfile(samples=40, **changes)


@pytest.fixture
def calibrator(graph, joint_pos):
    return Calibrator(graph, joint_pos, CalibrationSource(profile(), 7, "train.npz"))


def test_poses_are_drawn_from_the_split_without_repetition():
    available = np.arange(400.0).reshape(100, 4)
    poses = select_poses(profile(), available, LIMITS, 0, "train.npz")
    assert len(np.unique(poses[:, 0])) == 40
    assert np.isin(poses[:, 0], available[:, 0]).all()
    assert np.array_equal(poses, select_poses(profile(), available, LIMITS, 0, "train.npz"))
    assert not np.array_equal(poses, select_poses(profile(), available, LIMITS, 1, "train.npz"))


def test_a_small_split_is_used_whole_and_a_tiny_one_refused_with_file_and_count():
    assert len(select_poses(profile(), np.zeros((35, 4)), LIMITS, 0, "train.npz")) == 35
    with pytest.raises(DataError, match=r"runs/x/train\.npz holds 12 poses, need >= 32"):
        select_poses(profile(), np.zeros((12, 4)), LIMITS, 0, "runs/x/train.npz")


def test_poses_follow_the_training_split():
    assert resolved(profile(), "sobol").poses == "sobol"
    assert resolved(profile(), "lorenz").poses == "train"
    assert resolved(profile(), None).poses == "train"
    assert resolved(profile(poses="train"), "sobol").poses == "train"


def test_sobol_poses_are_none_of_a_data_set_with_the_same_seed_and_come_in_random_order():
    pytest.importorskip("scipy", reason="needs scipy: pip install 'edgekin[train]'")
    poses = select_poses(CalibrationProfile(poses="sobol", samples=256), np.zeros((0, 4)), LIMITS, 0, "unused")
    for seed in (0, TEST_SEED_OFFSET):
        assert not np.isin(poses, sobol(256, LIMITS, seed)).any()
    # Every eighth point of the sequence itself lies in the same eighth of some joint.
    assert np.all(np.ptp(poses[::8], axis=0) > 0.8 * np.ptp(LIMITS, axis=1))


def test_what_is_compared_on_was_not_fitted_to(graph):
    poses = np.random.default_rng(4).uniform(-1.5, 1.5, (500, 4))
    fitted, compared = split(graph, poses)
    assert len(fitted) + len(compared) == 500
    assert len(compared) == 125
    assert not np.isin(fitted, compared).any()


def test_sobol_poses_cover_the_limits():
    pytest.importorskip("scipy", reason="needs scipy: pip install 'edgekin[train]'")
    limits = np.array([[-1.0, 2.0], [0.0, 0.5]])
    poses = select_poses(CalibrationProfile(poses="sobol", samples=100), np.zeros((0, 2)), limits, 0, "unused")
    assert poses.shape == (100, 2)
    assert np.all(poses >= limits[:, 0])
    assert np.all(poses <= limits[:, 1])
    assert np.all(np.ptp(poses, axis=0) > 0.9 * np.ptp(limits, axis=1))


def test_minmax_covers_every_activation(calibrator, graph, joint_pos):
    calibration = calibrator.single("minmax")
    fitted, _ = split(graph, joint_pos)
    for name, output in activations(graph, fitted):
        if name in calibration.layers:
            assert np.abs(output).max() == pytest.approx(127 * calibration.scales[name])


def test_every_method_calibrates_what_the_quantizer_needs(calibrator, graph):
    for method in METHODS:
        quantize_graph(graph, calibrator.single(method).scales)


def test_auto_is_at_least_as_faithful_as_every_single_method(calibrator):
    steps = []
    auto = calibrator.auto(steps.append)
    best = max(calibrator.fidelity(calibrator.single(method)) for method in METHODS)
    assert calibrator.fidelity(auto) >= best
    assert auto.method == "auto"
    assert {layer.method for layer in auto.layers.values()} <= {*METHODS, "search"}
    assert len(steps) == len(auto.layers)
    assert steps[-1] == 1.0


def test_the_record_says_what_was_seen(calibrator):
    calibration = calibrator.by_method("mse")
    assert (calibration.samples, calibration.seed, calibration.source) == (40, 7, "train.npz")
    assert len(calibration.samples_sha256) == 64


def test_scales_that_would_overflow_rank_last(calibrator):
    calibration = calibrator.single("mse")
    tiny = {name: replace(layer, scale=1e-30) for name, layer in calibration.layers.items()}
    assert calibrator.fidelity(replace(calibration, layers=tiny)) == float("-inf")


def test_fidelity_is_the_psnr_of_the_probabilities():
    a = np.zeros((1, 1, 2, 2), np.float32)
    b = np.full_like(a, np.log(0.6 / 0.4))
    assert fidelity_db(a, b) == pytest.approx(20.0, abs=1e-3)
    assert np.isfinite(sigmoid(np.array([-1e9, 1e9], np.float32))).all()


def test_the_command_line_overrides_the_profile_and_is_validated():
    assert with_overrides(profile(), "entropy", None).method == "entropy"
    assert with_overrides(profile(), None, 64).samples == 64
    with pytest.raises(ConfigError, match="asks for 8 poses"):
        with_overrides(profile(), None, 8)
