"""The observers against cases computed by hand, and against each other."""

import numpy as np
import pytest

from edgekin.errors import ConfigError
from edgekin.quantization.observers import MagnitudeHistogram, entropy, minmax, mse, percentile


def histogram_of(*batches, n_bins=4096):
    histogram = MagnitudeHistogram(n_bins)
    for batch in batches:
        histogram.update(np.asarray(batch, np.float64))
    return histogram


def test_counts_land_in_their_bins_and_zeros_apart():
    histogram = histogram_of([0.0, 0.1, -0.3, 0.6, 1.0], n_bins=4)
    assert histogram.upper == 1.0
    assert histogram.counts.tolist() == [1, 1, 1, 1]  # 0.1 | 0.3 | 0.6 | 1.0 (the upper end belongs to the last bin)
    assert histogram.zeros == 1
    assert histogram.max_abs == 1.0


def test_doubling_merges_neighbours():
    histogram = histogram_of([0.1, 0.3, 0.6, 0.9], [1.9], n_bins=4)
    assert histogram.upper == 2.0
    assert histogram.counts.tolist() == [2, 2, 0, 1]


def test_batches_in_any_order_give_the_same_histogram():
    rng = np.random.default_rng(0)
    x = rng.normal(size=5000)
    whole, parts, reverse = histogram_of(x), histogram_of(*np.split(x, 10)), histogram_of(*np.split(x, 10)[::-1])
    assert np.array_equal(whole.counts, parts.counts)
    assert np.array_equal(whole.counts, reverse.counts)
    assert whole.upper == parts.upper == reverse.upper


def test_minmax_is_the_largest_magnitude():
    assert minmax(histogram_of([1.0, -7.25], [3.0])) == 7.25


def test_percentile_of_a_uniform_ramp_is_its_share():
    ramp = np.arange(1, 10001) / 10000.0
    assert percentile(histogram_of(ramp), 90.0) == pytest.approx(0.9, abs=1e-3)
    assert percentile(histogram_of(ramp), 100.0) == 1.0


def test_percentile_ignores_the_zeros_of_a_relu():
    assert percentile(histogram_of(np.zeros(10**6), np.ones(10)), 99.0) == pytest.approx(1.0, abs=1e-3)


def test_percentile_by_hand():
    # 3 values in bin [0, 0.25), 1 in [0.75, 1): half of the four is 2, two thirds into the first bin.
    histogram = histogram_of([0.1, 0.1, 0.1, 1.0], n_bins=4)
    assert percentile(histogram, 50.0) == pytest.approx(0.25 * 2 / 3)


def test_mse_clips_a_lone_outlier_and_keeps_a_ramp():
    rng = np.random.default_rng(1)
    bulk = rng.normal(size=200_000)
    assert mse(histogram_of(bulk, [40.0])) < 20.0
    ramp = np.linspace(0.001, 1.0, 100_000)
    assert mse(histogram_of(ramp)) > 0.95


def test_mse_is_the_best_of_its_candidates_on_the_data_themselves():
    rng = np.random.default_rng(2)
    x = rng.laplace(size=100_000)
    histogram = histogram_of(x)
    chosen = mse(histogram)

    def error(threshold):
        scale = threshold / 127
        return np.mean((np.clip(np.rint(x / scale), -127, 127) * scale - x) ** 2)

    best = min(error(t) for t in histogram.max_abs * np.linspace(1.0, 0.05, 120))
    assert error(chosen) <= 1.02 * best


def test_entropy_by_hand_keeps_everything_where_bins_are_levels():
    # 128 bins or fewer are represented by 128 levels without loss.
    histogram = histogram_of(np.linspace(0.01, 1.0, 500), n_bins=128)
    assert entropy(histogram) == 1.0


def test_entropy_clips_the_tail_of_a_peaked_distribution():
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=100_000), [60.0, 80.0]])
    assert 2.0 < entropy(histogram_of(x)) < 40.0


def test_a_layer_of_zeros_has_threshold_zero():
    histogram = histogram_of(np.zeros(100))
    assert [minmax(histogram), percentile(histogram), mse(histogram), entropy(histogram)] == [0.0] * 4


def test_a_nan_activation_is_refused():
    with pytest.raises(ConfigError, match="not finite"):
        histogram_of([1.0, np.nan])
