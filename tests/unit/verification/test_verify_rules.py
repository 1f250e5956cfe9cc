"""The baselines: what they compute, how their thresholds are found, and that one text serves any chunks."""

import numpy as np
import pytest

from edgekin.robot.catalogue import BODY
from edgekin.verification.baselines import Always, Baseline, Never, fitted_rules, thresholds
from edgekin.verification.observed import Observed
from edgekin.verification.rules import CLIP, Cusum, K, threshold_of

for package in ("river", "pyod"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'edgekin[verify]'")


def observed(seed, n=600, shift=0.0, at=0):
    """A made-up residual whose mean is higher from a frame on."""
    rng = np.random.default_rng(seed)
    nll = 0.02 + 0.002 * rng.standard_normal(n)
    nll[at:] += shift
    return Observed(nll, nll / 2 + 1e-3 * rng.random(n), 0.95 - nll - 1e-3 * rng.random(n), (nll - 0.02) / 0.002)


@pytest.fixture(scope="module")
def healthy():
    return [observed(seed) for seed in range(8)]


@pytest.fixture(scope="module")
def rules(healthy):
    return fitted_rules(healthy, regions=True)


def pieces(seen, size):
    parts = range(0, len(seen), size)
    return [Observed(*(getattr(seen, c)[i:i + size] for c in ("nll", "squared", "iou", "z"))) for i in parts]


def first_alarm(rule, threshold, seen, size):
    rule.start(threshold)
    for number, part in enumerate(pieces(seen, size)):
        index = rule.first(part)
        if index is not None:
            return number * size + index
    return None


def test_the_cusum_is_pages(healthy):
    rule, seen = Cusum(), observed(99, shift=0.003, at=300)
    rule.fit(healthy)
    rule.start(np.inf)
    found = np.concatenate([rule.of(part) for part in pieces(seen, 64)])
    s, expected = 0.0, []
    for z in rule.standardised(seen):
        s = max(0.0, s + min(z, CLIP) - K)
        expected.append(s)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_every_rule_keeps_still_on_what_it_was_set_on_and_finds_a_large_shift(rules, healthy):
    at = thresholds(rules, healthy, 1 / 60, 1.0)
    assert set(at) == {"threshold", "cusum", "cusum-regions", "page-hinkley", "adwin", "mcd"}
    damaged = observed(50, shift=0.02, at=300)
    for rule in rules:
        assert all(first_alarm(rule, at[rule.name], seen, 600) is None for seen in healthy), rule.name
        alarm = first_alarm(rule, at[rule.name], damaged, 600)
        assert alarm is not None, rule.name
        assert 300 <= alarm < 350, rule.name
        assert first_alarm(rule, at[rule.name], damaged, 64) == alarm, rule.name


def test_the_peak_is_the_least_threshold_without_an_alarm(rules):
    seen = observed(60, shift=0.004, at=300)
    for rule in rules:
        peak = rule.peak(seen)
        assert first_alarm(rule, peak * (1 + 1e-6), seen, 600) is None, rule.name
        assert first_alarm(rule, peak * 0.999, seen, 600) is not None, rule.name


def test_a_threshold_is_the_gumbel_quantile_and_never_below_what_was_seen():
    rng = np.random.default_rng(0)
    peaks = 10.0 + 2.0 * rng.gumbel(size=4000)
    # Once an hour, of streams of a minute: 2 ln 60 above the location.
    assert threshold_of(peaks[:400], 1 / 60, 1e-9) > threshold_of(peaks[:400], 1 / 60, 1.0)
    rare = threshold_of(peaks, 1 / 60, 1e-3)
    assert rare == pytest.approx(10.0 + 2.0 * np.log(60_000), rel=0.03)
    assert threshold_of(peaks, 1 / 60, 60.0) == peaks.max()
    assert threshold_of(np.array([3.0]), 1 / 60, 1.0) == 3.0


def test_subjects_say_body_damage_once_always_or_never(rules, healthy):
    class Frames:
        first = 1000

    class Observer:
        def of(self, frames):
            return observed(7, shift=0.05, at=10)

    rule = next(rule for rule in rules if rule.name == "threshold")
    subject = Baseline(rule, Observer(), 0.05)
    subject.start()
    (alarm,) = subject.watch(Frames())
    assert (alarm.frame, alarm.kind, len(subject.statistic)) == (1010, BODY, 600)
    assert [alarm.frame for alarm in Always().watch(Frames())] == [1000]
    assert Never().watch(Frames()) == []
