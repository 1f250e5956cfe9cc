"""The histogram against numpy: percentiles to the bucket's resolution, nothing dropped."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekin.runtime.hist import P99_9_MIN_SAMPLES, Histogram

NS = st.integers(0, 2**36 - 1) | st.integers(0, 300) | st.integers(0, 36).map(lambda e: min(2**e, 2**36 - 1))


@settings(max_examples=200, deadline=None)
@given(st.lists(NS, min_size=1, max_size=200), st.floats(0.0, 1.0))
def test_percentiles_are_numpys_to_one_part_in_128(values, p):
    hist = Histogram()
    hist.add(values)
    exact = int(np.percentile(values, 100 * p, method="inverted_cdf"))
    got = hist.percentile_ns(p)
    assert exact <= got <= exact + exact // 128


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(2**40), 2**45), min_size=1, max_size=100))
def test_what_does_not_fit_is_counted_and_stays_in_the_extremes(values):
    hist = Histogram()
    hist.add(values)
    summary = hist.summary()
    assert summary.n == len(values)
    assert summary.overflow == sum(v >= 2**36 for v in values)
    assert summary.underflow == sum(v < 0 for v in values)
    assert hist.percentile_ns(1.0) == max(values)
    assert math.isclose(summary.mean, np.mean(values) / 1e3, rel_tol=1e-9, abs_tol=1e-3)


def test_values_below_128_ns_are_exact():
    hist = Histogram()
    hist.add(range(128))
    assert [hist.percentile_ns((i + 1) / 128) for i in range(128)] == list(range(128))


def test_p99_9_needs_ten_thousand_samples():
    hist = Histogram()
    hist.add([1000] * (P99_9_MIN_SAMPLES - 1))
    assert hist.summary().p99_9 is None
    hist.add([1000])
    assert hist.summary().p99_9 == 1.0


def test_an_empty_histogram_reports_zeros():
    summary = Histogram().summary()
    assert (summary.n, summary.p50, summary.max, summary.p99_9) == (0, 0.0, 0.0, None)


def test_an_undefined_share_gives_the_pessimistic_answer():
    hist = Histogram()
    hist.add([1, 2, 3])
    assert hist.percentile_ns(math.nan) == 3
