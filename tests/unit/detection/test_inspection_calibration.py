"""Calibration of the inspector: quiet on a healthy arm, quick to name a bent one, and no pupil of a bent one."""

import json
from dataclasses import replace

import numpy as np
import pytest

from edgekin.bundle import load_bundle
from edgekin.calibrating import _test_error
from edgekin.detection import looks
from edgekin.detection.healthy import Peak, check_body, check_misfit, check_motion, check_peaks
from edgekin.detection.inspection import (
    ANY_RAD,
    MARGIN,
    TRACKING_RAD,
    WAYS,
    Healthy,
    calibrate,
    check_hours,
    extrapolate,
    fit,
)
from edgekin.detection.looks import first_config, frames_of, look_at
from edgekin.errors import DataError, GateMissed
from edgekin.opening import open_body
from edgekin.robot import parse_events
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.inspector_config import KNOWN, UNKNOWN, InspectorConfig
from edgekin.sim.episode import Episode, Frames, seed_of

HZ, FIT_S, BLOCK_S, STRETCHES, BLOCKS = 20.0, 20.0, 4.0, 8, 20
RATE = 30.0  # an hour: what 20 stretches of 4 s can be asked


@pytest.fixture(scope="module")
def bundle(body_bundle):
    return load_bundle(body_bundle)


@pytest.fixture(scope="module")
def robot(bundle):
    return bundle.robot


@pytest.fixture(scope="module")
def engine(bundle):
    with open_body(bundle) as opened:
        yield opened


def stretch(robot, number, text="", seconds=FIT_S):
    return Episode(robot, parse_events(text) if text else (), HZ, seconds, seed_of(1, "test", number))


def stretches(robot, text="", where=range(100), seconds=FIT_S, count=STRETCHES, first=0):
    """Healthy stretches, but for those of `where`."""
    return [stretch(robot, first + i, text if i in where else "", seconds) for i in range(count)]


def healthy(robot, text="", where=range(100)):
    return Healthy(stretches(robot), stretches(robot, text, where, BLOCK_S, BLOCKS, 50), BLOCK_S)


@pytest.fixture(scope="module")
def seen(engine, robot):
    """Looks at healthy stretches."""
    return look_at(engine, first_config(robot, HZ), stretches(robot))


@pytest.fixture(scope="module")
def calibrated(engine, robot, bundle):
    steps = []
    motion = replace(healthy(robot), test_error=_test_error(bundle), learned_lost=True)
    found = calibrate(engine, robot, HZ, RATE, motion, steps.append)
    assert steps == ["look"] * STRETCHES + ["fit"] + ["watch"] * BLOCKS
    return found


def test_a_calibrated_inspector_is_quiet_on_other_motion_and_names_a_bent_link(engine, robot, calibrated):
    config, record = calibrated
    config = InspectorConfig.from_json(json.loads(json.dumps(config.to_json() | {"calibration": record})))
    with Inspector(engine, config) as inspector:
        for text, alarm, part in (("", "", ""), ("bend:2:15", "body damage", "upper_arm")):
            inspector.reset()
            for _, q, masks, sent in frames_of(stretch(robot, 999, text)):
                found = inspector.update(q, masks, sent)
                if found.alarm:
                    break
            assert (found.alarm, found.named.part if alarm else "") == (alarm, part)
            assert not alarm or found.alarm_frame < 60


def test_the_record_says_what_the_thresholds_rest_on(calibrated):
    config, record = calibrated
    hours = BLOCKS * BLOCK_S / 3600
    assert (record["hours"], record["blocks"], record["frames"]) == (hours, BLOCKS, STRETCHES * FIT_S * HZ)
    assert record["rate_bound_per_hour"] == pytest.approx(3 / hours)
    assert record["extrapolated"] == pytest.approx(3 / hours / RATE)
    assert (record["alarms"], record["commands"]) == (0, True)
    assert config.threshold >= max(1.5 * record["highest"], np.log(3600 * WAYS / (RATE * BLOCK_S)))
    assert record["highest_single"] > 0
    assert config.threshold + config.handicap[0] >= 1.5 * record["highest_single"] >= 1.5 * record["highest"]
    assert config.handicap[0] >= 0
    assert not config.handicap[1:].any()
    assert config.unexplained_sum > record["highest_unexplained"]
    assert (config.bias > 0).all()
    assert config.tracking_rad.max() < np.radians(1.0)


def test_less_is_allowed_only_with_higher_thresholds(engine, robot, calibrated):
    assert calibrate(engine, robot, HZ, RATE / 10, healthy(robot))[0].threshold > calibrated[0].threshold


def test_a_model_that_learned_lost_links_leaves_less_of_them(engine, robot, calibrated, seen):
    assert (calibrated[0].uncovered, fit(first_config(robot, HZ), seen).uncovered) == (KNOWN, UNKNOWN)


def test_frames_without_commands_leave_tracking_open(engine, robot):
    def silent(one):
        return [replace(piece, commanded=None) for piece in one]

    found = look_at(engine, first_config(robot, HZ), [silent(one) for one in stretches(robot)])
    assert found.tracking.shape == (0, 4)
    config = fit(first_config(robot, HZ), found)
    assert (config.tracking_rad == ANY_RAD).all()
    with Inspector(engine, config):
        pass


def test_of_many_pictures_some_are_kept_evenly(engine, robot, seen, monkeypatch):
    monkeypatch.setattr(looks, "KEPT", 500)
    few = look_at(engine, first_config(robot, HZ), stretches(robot))
    assert 500 <= len(few.kept) < 1000
    np.testing.assert_array_equal(few.kept, np.arange(0, len(few.fitted), few.kept[1]))
    np.testing.assert_allclose(few.score, seen.score[few.kept])
    np.testing.assert_allclose(few.information, seen.information[few.kept])
    assert (len(few.fitted), few.places[1]) == (3200, "frames 0 to 399")


def test_fitted_spreads_bring_healthy_evidence_down(robot, seen):
    first = first_config(robot, HZ)
    before = first.bias.copy(), first.frame.copy()
    config, wild = fit(first, seen), fit(first, replace(seen, score=5 * seen.score))
    np.testing.assert_array_equal((first.bias, first.frame), before)
    assert (wild.bias >= config.bias).all()
    assert wild.bias.sum() > 1.5 * config.bias.sum() >= 1.5 * first.bias.sum()
    own = config.own_axis
    assert (config.frame[own] >= 0.9 * np.radians(0.2)).all()  # the encoders' noise
    assert config.tracking_rad.min() >= TRACKING_RAD


# ---- data that are not healthy ---------------------------------------------------------------------------------------


def test_healthy_motion_is_taken_for_healthy(robot, seen, bundle):
    check_motion(robot, seen.joint_pos)
    check_misfit(seen, _test_error(bundle), 48.0)
    check_body(first_config(robot, HZ), seen)


@pytest.mark.parametrize(("text", "says"), [
    ("bend:2:5", r"link upper_arm turned by [45]\.\d degrees \(limit 1.5\)"),
    ("short:3:20", r"link forearm shorter by (1|2)\d\.\d%"),
    ("encoder-bias:2:5", r"link upper_arm turned by [45]\.\d degrees"),
    ("camera-bump:3", "camera 1 turned by")])
def test_a_body_that_is_off_all_the_time_is_refused(engine, robot, text, says):
    with pytest.raises(DataError, match=says) as error:
        calibrate(engine, robot, HZ, RATE, Healthy(stretches(robot, text), healthy(robot).watch, BLOCK_S))
    assert "not of the body that the model knows" in error.value.message
    assert "healthy arm" in error.value.hint


def test_stretches_with_a_bent_body_are_named(engine, robot):
    bent = Healthy(stretches(robot, "bend:2:10", (2, 5)), healthy(robot).watch, BLOCK_S)
    with pytest.raises(DataError, match=r"stretches 3, 6 of 8 \(frames 0 to 399; frames 0 to 399\) unlike the others: "
                                        r"link upper_arm turned by \d+\.\d degrees \(limit 1.5\)"):
        calibrate(engine, robot, HZ, RATE, bent)


def test_pictures_that_the_model_does_not_make_are_refused(engine, robot, bundle):
    first, error = first_config(robot, HZ), _test_error(bundle)
    with pytest.raises(DataError, match=r"the model does not make these pictures: .* pixels in the median stretch"):
        check_misfit(look_at(engine, first, stretches(robot, "mask-noise:2")), error, 48.0)
    some = look_at(engine, first, stretches(robot, "mask-noise:2", (0, 1, 2)))
    with pytest.raises(DataError, match=r"stretches 1, 2, 3 of 8 \(.*\) unlike the others: a squared error of"):
        check_misfit(some, error, 48.0)


def test_stretches_that_are_watched_with_a_bent_body_are_named(engine, robot):
    with pytest.raises(DataError, match=r"stretch 8 of 20 \(frames 0 to 79\) unlike the others: \d+ nats"):
        calibrate(engine, robot, HZ, RATE, healthy(robot, "bend:2:15", (7,)))


def test_alarms_that_no_threshold_holds_back_miss_the_rate(engine, robot):
    with pytest.raises(GateMissed, match=r"healthy stretches 8, 9, 10, 11 .* \(frozen\): 180 an hour, allowed 30"):
        calibrate(engine, robot, HZ, RATE, healthy(robot, "frozen-camera@1", (7, 8, 9, 10)))
    record = calibrate(engine, robot, HZ, RATE, healthy(robot, "frozen-camera@1", (7,)))[1]  # that may be chance
    assert (record["alarms"], record["rate_bound_per_hour"]) == (1, None)


def test_a_high_level_of_all_stretches_is_no_outlier():
    def peak(evidence, unexplained, where="x"):
        return Peak(evidence, evidence, unexplained, "", where)

    peaks = [peak(40.0 + i, 0.0, f"frames {i}") for i in range(20)]
    check_peaks([*peaks, peak(450.0, 0.0)])
    with pytest.raises(DataError, match=r"stretch 21 of 21 \(x\) unlike the others: 700 nats .* 50\.0 in the median"):
        check_peaks([*peaks, peak(700.0, 0.0)])
    with pytest.raises(DataError, match="300 of what no deviation explains"):
        check_peaks([*peaks, peak(40.0, 300.0)])


def test_joints_that_never_moved_are_named(engine, robot):
    def still(one):
        for piece in one:
            q = piece.joint_pos.copy()
            q[:, 2] = 0.3 + 0.001 * (q[:, 2] > 0)
            yield Frames(piece.first, piece.time_s, piece.commanded, q, q, piece.masks)

    name = robot.actuated[2].name
    with pytest.raises(DataError, match=rf"hardly move in .*: {name} \(0\.1 degrees, expected 2\)") as error:
        calibrate(engine, robot, HZ, RATE, Healthy([still(one) for one in stretches(robot)], healthy(robot).watch))
    assert robot.actuated[1].name not in error.value.message


def test_the_error_of_the_models_own_test_comes_from_the_manifest(bundle):
    pixels, own = 48 * 48, bundle.manifest["parity"]["psnr_db"]
    assert _test_error(bundle) == pytest.approx(pixels * 10 ** (-own / 10))
    for body, expected in (({"parity": {"psnr_db": 20.0}}, 0.01 * pixels), ({}, pixels * 10 ** (-own / 10))):
        assert _test_error(replace(bundle, manifest={**bundle.manifest, "body": body})) == pytest.approx(expected)


# ---- too few of them -------------------------------------------------------------------------------------------------


def test_too_few_frames_are_counted(engine, robot):
    few = Healthy(stretches(robot, count=2), healthy(robot).watch, BLOCK_S)
    with pytest.raises(DataError, match=r"800 healthy pictures are too few .* expected 2000 or more"):
        calibrate(engine, robot, HZ, RATE, few)


def test_hours_that_do_not_support_the_rate_say_how_many_would(engine, robot):
    with pytest.raises(DataError, match=r"0.0083 hours are 10 stretches of 3 s to watch, too few .* expected 20"):
        check_hours(10, 3.0, 1.0)
    with pytest.raises(DataError, match=r"0.001 false alarms an hour are 6000 times fewer than 0.5 hours .*\(6 an hour"
                       ) as error:
        check_hours(60, 30.0, 0.001)
    assert error.value.hint.startswith("Watch 30 hours or more (--hours")
    check_hours(3600, 30.0, 0.001)
    with pytest.raises(DataError, match="too few for a threshold"):  # before any work
        calibrate(engine, robot, HZ, RATE, Healthy([], healthy(robot).watch[:5], BLOCK_S))


@pytest.mark.parametrize("per_hour", [0.01, 0.1])
def test_extrapolated_levels_are_passed_as_often_as_asked(per_hour):
    rng = np.random.default_rng(0)
    levels = [extrapolate(5.0 + 1.5 * rng.gumbel(size=200), 30.0, per_hour) for _ in range(50)]
    true = 5.0 - 1.5 * np.log(-np.log1p(-per_hour * 30.0 / 3600))
    assert 0.95 * true <= np.median(levels) / MARGIN <= 1.25 * true


def test_a_level_is_never_below_what_was_seen():
    assert extrapolate(np.array([1.0, 1.0, 1.0, 30.0]), 30.0, 60.0) >= 30.0


def test_a_level_is_never_below_what_an_exact_model_may_reach():
    assert extrapolate(np.zeros(200), 30.0, 1.0) == pytest.approx(np.log(120.0))
