"""What alarms are worth, on alarms made by hand."""

import math
from collections import Counter

import numpy as np
import pytest

from edgekin.robot import load_robot
from edgekin.robot.cases import Case
from edgekin.robot.catalogue import APPEARANCE, BODY, CAMERA, CLASSES, ENCODER
from edgekin.robot.events import parse_events
from edgekin.verification.scoring import (
    CANNOT_TELL,
    ELSEWHERE,
    NOTHING,
    UNDECIDED,
    Judge,
    Outcome,
    alarm_rate,
    auc,
    delays,
    false_alarms,
    poisson_cdf,
    poisson_lower,
    poisson_upper,
    time_percentiles,
)
from edgekin.verification.subject import Alarm
from edgekin.verification.versus import Shared, best_of

HZ = 60.0
BEND = Case("bend:2:5", parse_events("bend:2:5"))


@pytest.fixture(scope="module")
def judge():
    return Judge(load_robot("arm4"), HZ)


@pytest.fixture(scope="module")
def names():
    """Of joint 1, 2, 3, and of the links behind them."""
    robot = load_robot("arm4")
    return [(j.name, robot.links[j.child].name) for j in robot.actuated]


def outcome(frame=None, onset=100, frames=500, **said):
    alarm = None if frame is None else Alarm(frame, **{"kind": BODY, **said})
    return Outcome(onset, frames, alarm, alarm)


def test_a_delay_counts_fresh_frames_and_a_miss_counts_as_the_rest_of_the_stream():
    assert [o.delay for o in (outcome(100), outcome(109), outcome())] == [1, 10, 400]
    found = delays([outcome(100), outcome(101), outcome(109), outcome(), outcome(99)], HZ)
    assert found == {"n": 5, "median_frames": 6.0, "p95_frames": pytest.approx(341.5), "median_ms": 100.0,
                     "p95_ms": pytest.approx(5691.7), "missed": 0.2, "early": 0.2}
    nothing = delays([outcome(3)], HZ)
    assert (nothing["median_frames"], nothing["median_ms"], nothing["early"]) == (None, None, 1.0)


@pytest.mark.parametrize(("count", "low", "high"), [(1, 0.0513, 4.744), (2, 0.355, 6.296), (10, 5.425, 16.962),
                                                    (100, 84.14, 118.1)])
def test_bounds_of_a_poisson_rate_are_the_exact_ones(count, low, high):
    """Garwood's table; one side, 95%."""
    assert poisson_upper(count) == pytest.approx(high, rel=1e-3)
    assert poisson_lower(count) == pytest.approx(low, rel=2e-3)
    assert poisson_cdf(count, poisson_upper(count)) == pytest.approx(0.05, abs=1e-9)


def test_no_alarm_is_the_rule_of_three():
    assert (poisson_upper(0), poisson_lower(0)) == (3.0, 0.0)
    assert poisson_upper(0, 0.9) == pytest.approx(math.log(10))


def kept(frames, alarm=None, before=None, records=()):
    return {"alarm": alarm, "finding": alarm, "frames": frames, "before": before, "records": records}


def test_a_healthy_stream_ends_with_its_alarm():
    moved = {"frame": 107_999, "kind": CAMERA}
    streams = [{"subjects": {"a": kept(216_000)}}, {"subjects": {"a": kept(108_000, moved)}},
               {"subjects": {"b": kept(5)}}]
    found = false_alarms(streams, "a", HZ)
    assert (found["hours"], found["frames"], found["streams"], found["alarms"]) == (1.5, 324_000, 2, 1)
    assert found["by_class"] == {CAMERA: 1}
    assert found["rate_bound_per_hour"] == pytest.approx(4.7439 / 1.5, rel=1e-3)
    assert (found["arl0_frames"], found["arl0_bound_frames"]) == (324_000, 68299)
    quiet = false_alarms(streams[:1], "a", HZ)
    assert (quiet["rate_bound_per_hour"], quiet["arl0_frames"], quiet["arl0_bound_frames"]) == (3.0, None, 72_000)


def test_a_bend_is_named_right_by_its_link_or_by_the_joint_before_it(judge, names):
    (first, _), (joint, link), *_ = names
    found = judge.score(BEND, [outcome(110, part=joint, size=5.5, low=4.0, high=7.0, unit="deg"),
                               outcome(110, part=link, size=-4.0, low=-4.5, high=-3.5, unit="deg"),
                               outcome(110, part=first, size=5.0, unit="deg"),
                               outcome(110, kind=ENCODER, part=joint, size=5.0, unit="percent"),
                               outcome(110, part="", unidentifiable=(first, joint)), outcome(), outcome(7)])
    assert (found["n"], found["joint"], found["kind"], found["size"]) == (7, 2, "bend", 5.0)
    assert (found["missed"], found["early"]) == (round(1 / 7, 4), round(1 / 7, 4))
    assert found["class_right"] == 0.8
    assert (found["isolation_top1"], found["decided"]) == (0.75, 4)
    assert (found["abstained"], found["abstained_right"]) == (0.2, 1.0)
    assert found["size_error"] == 0.75  # 0.5 and 1.0; another part or unit says nothing
    assert found["interval_right"] == 0.5


def test_a_drift_is_as_large_as_it_has_come_to_be(judge, names):
    case = Case("encoder-drift:1:20", parse_events("encoder-drift:1:20"))
    late = outcome(100 + 570, frames=2000, kind=ENCODER, part=names[0][0], size=3.0, unit="deg")
    assert judge.score(case, [late])["size_error"] == pytest.approx(20 / 60 * 600 / HZ - 3.0, abs=1e-3)


def test_a_nuisance_may_be_overlooked_but_not_be_called_body_damage(judge):
    light = Case("lighting:5", parse_events("lighting:5"))
    bump = Case("camera-bump:2", parse_events("camera-bump:2"))
    runs = [outcome(105), outcome(105, kind=APPEARANCE), outcome(105, kind=CAMERA), outcome(), outcome(3)]
    may, must = judge.nuisance(light, runs), judge.nuisance(bump, runs)
    assert (may["n"], may["alarms"], may["body_alarms"], may["early"], may["named_right"]) == (5, 3, 1, 1, None)
    assert (must["must_alarm"], must["named_right"]) == (True, 1)


def test_confusions_are_counted_by_class_and_by_joint(judge, names):
    tool = Case("tool:5", parse_events("tool:5"))
    runs = [(BEND, outcome(110, part=names[1][1])), (BEND, outcome(110, kind=CAMERA)), (BEND, outcome()),
            (BEND, outcome(110, kind="", unidentifiable=(names[0][0],))), (tool, outcome(110, kind=APPEARANCE)),
            (BEND, outcome(5))]
    found = judge.confusion(runs)
    said = found["classes"]["said"]
    body = dict(zip(said, found["classes"]["counts"][CLASSES.index(BODY)], strict=True))
    assert {name: n for name, n in body.items() if n} == {BODY: 1, CAMERA: 1, NOTHING: 1, CANNOT_TELL: 1}
    assert found["classes"]["counts"][CLASSES.index(APPEARANCE)][said.index(APPEARANCE)] == 1
    second = dict(zip(found["joints"]["said"], found["joints"]["counts"][1], strict=True))
    assert {name: n for name, n in second.items() if n} == {names[1][0]: 1, ELSEWHERE: 1, UNDECIDED: 1, NOTHING: 1}
    assert np.sum(found["joints"]["counts"]) == 4


def test_auc_counts_ties_half():
    assert auc([0.0, 1.0], [2.0, 3.0]) == 1.0
    assert auc([1.0, 1.0], [1.0]) == 0.5
    rng = np.random.default_rng(0)
    healthy, other = rng.integers(0, 9, 50).astype(float), rng.integers(2, 12, 30).astype(float)
    pairs = [(b > a) + 0.5 * (b == a) for a in healthy for b in other]
    assert auc(healthy, other) == pytest.approx(np.mean(pairs))


def test_times_are_percentiles_of_all_frames():
    counts = Counter({1000: 9_900, 5000: 99, 64_000: 1})
    assert time_percentiles(counts) == {"p50": 1.0, "p99": 1.0, "p99_9": 5.0, "max": 64.0, "n": 10_000}
    assert time_percentiles(Counter({1000: 3}))["p99_9"] is None
    assert time_percentiles(Counter()) is None


def shared(**subjects):
    """Three healthy minutes and two bends; the subjects' entries are (healthy x 3, damaged x 2)."""
    streams = [{"subjects": {name: entries[i] for name, entries in subjects.items()}} for i in range(3)]
    runs = [(BEND, {"onset": 100, "frames": 500, "subjects": {n: e[3 + i] for n, e in subjects.items()}})
            for i in range(2)]
    return Shared.of([*streams, {"subjects": {"main": kept(9)}}], runs, HZ)


def test_subjects_are_compared_on_the_streams_that_all_of_them_watched():
    quick, late = {"frame": 104, "kind": BODY}, {"frame": 149, "kind": BODY}
    found = shared(main=[kept(3600)] * 3 + [kept(135, quick)] * 2, other=[kept(3600)] * 3 + [kept(150, late)] * 2,
                   always=[kept(1, {"frame": 0, "kind": BODY})] * 5)
    assert found.names == ["main", "other", "always"]
    rows = {name: found.row(name, None, {}) for name in found.names}
    assert (rows["main"]["median_frames"], rows["main"]["healthy_alarms"]) == (5.0, 0)
    assert rows["other"]["median_frames_by_kind"] == {"bend": 50.0}
    assert (rows["always"]["early"], rows["always"]["median_frames"]) == (1.0, None)
    assert best_of(rows, 1.0) == "main"
    del rows["main"]
    assert best_of(rows, 1.0) == "other"
    rows["other"]["healthy_alarms"] = 3  # of three minutes: one an hour is out of the question
    assert best_of(rows, 1.0) is None


def test_an_operating_curve_reads_what_lower_thresholds_would_have_done():
    found = shared(main=[kept(3600, before=b) for b in (2.0, 5.0, 8.0)] + [
        kept(140, before=1.0, records=[[0, 3.0], [9, 6.0], [19, 9.0]]), kept(140, before=6.0, records=[[3, 9.0]])],
        mute=[kept(3600)] * 5)
    by_threshold = {point["threshold"]: point for point in found.curve("main")}
    assert list(by_threshold) == [8.0, 5.0, 2.0]
    assert by_threshold[8.0]["median_frames"] == 12.0  # 20 and 4
    assert (by_threshold[5.0]["median_frames"], by_threshold[5.0]["early"]) == (10.0, 0.5)
    assert by_threshold[8.0]["rate_per_hour"] == 0.0
    assert by_threshold[5.0]["rate_per_hour"] == pytest.approx(60 * -math.log(2 / 3), abs=1e-3)
    assert alarm_rate(np.array([1.0, 2.0]), 0.0, 1.0) == pytest.approx(-math.log(0.25))
    assert not found.curve("mute")
