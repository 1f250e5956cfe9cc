"""The C detector and its numpy twin: the same verdicts on random streams, and the rules each verdict obeys."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekin.detection.detector import FRAMES_TO_HEALTHY, ReferenceDetector
from edgekin.errors import BundleError
from edgekin.runtime.detector import DAMAGED, FAULT, HEALTHY, UNKNOWN, DetectorConfig, NativeDetector
from edgekin.runtime.ring import Frame
from edgekin.runtime.status import status_code

MS = 1_000_000
N_PIXELS = 100


def settings_for(**changes):
    fields = {"centroids": [[0.0, 0.0], [1.0, -1.0], [-1.0, 0.5]], "mean": [0.1, 0.2, 0.15], "std": [0.02, 0.05, 0.03],
              "k": 1.0, "h": 12.0, "z_clip": 6.0, "joint_min_rad": [-2.0, -2.0], "joint_max_rad": [2.0, 2.0],
              "bad_frames_to_unknown": 3, "stale_ns": 5 * MS, "frozen_frames": 4, "frozen_motion_rad": 0.2}
    return DetectorConfig.from_json({**fields, **changes})


def frame(sequence, joints=(0.1, 0.1), stamp_ns=None, publish_ns=None, fresh=True):
    stamp_ns = sequence * MS if stamp_ns is None else stamp_ns
    publish_ns = stamp_ns + 1000 if publish_ns is None else publish_ns
    packed = np.zeros((1, 1, 1), np.uint8)
    return Frame(sequence, stamp_ns, publish_ns, np.array(joints, dtype=np.float32), packed, 0, fresh)


@pytest.fixture(params=[NativeDetector, ReferenceDetector], ids=["c", "numpy"])
def detector(request):
    return request.param(settings_for())


def feed(detector, first, count, nll=10.0, joints=(0.1, 0.1), mask=None):
    verdict = None
    for i in range(first, first + count):
        f = frame(i, joints)
        verdict = detector.update(f, nll, N_PIXELS, i if mask is None else mask, f.publish_ns + 1000)
    return verdict


def test_healthy_only_after_enough_valid_frames(detector):
    assert detector.idle(0).verdict == UNKNOWN
    assert feed(detector, 1, FRAMES_TO_HEALTHY - 1).verdict == UNKNOWN
    assert feed(detector, FRAMES_TO_HEALTHY, 1).verdict == HEALTHY


def test_a_large_residual_alarms_latches_and_waits_for_the_acknowledgement(detector):
    feed(detector, 1, 20)
    verdict = feed(detector, 21, 3, nll=40.0)  # 3 x (6 - 1) > 12
    assert (verdict.verdict, verdict.alarms) == (DAMAGED, 1)
    assert feed(detector, 24, 100).verdict == DAMAGED
    assert detector.idle(10_000 * MS).verdict == DAMAGED
    detector.acknowledge()
    assert feed(detector, 20_000, FRAMES_TO_HEALTHY - 1).verdict == UNKNOWN
    assert feed(detector, 20_000 + FRAMES_TO_HEALTHY, 1).verdict == HEALTHY


def test_one_absurd_frame_cannot_alarm_because_z_is_clipped(detector):
    feed(detector, 1, 20)
    assert feed(detector, 21, 1, nll=1e9).verdict == HEALTHY


@pytest.mark.parametrize(("joints", "reason"), [((math.nan, 0), "nonfinite"), ((0, math.inf), "nonfinite"),
                                                ((2.5, 0), "range"), ((0, -2.01), "range")])
def test_bad_joints_freeze_the_detector_then_make_it_unknown(detector, joints, reason):
    before = feed(detector, 1, 20)
    first = feed(detector, 21, 1, nll=90.0, joints=joints)
    assert (first.verdict, first.reason, first.cusum) == (HEALTHY, status_code(reason), before.cusum)
    third = feed(detector, 22, 2, nll=90.0, joints=joints)
    assert (third.verdict, third.rejected, third.alarms) == (UNKNOWN, 3, 0)
    assert feed(detector, 24, FRAMES_TO_HEALTHY).verdict == HEALTHY


@pytest.mark.parametrize("nll", [math.nan, math.inf, -1.0])
def test_a_bad_score_is_no_evidence(detector, nll):
    feed(detector, 1, 20)
    assert feed(detector, 21, 3, nll=nll).verdict == UNKNOWN


@pytest.mark.parametrize(("stamp", "publish", "now"), [(30, 29, 31), (30, 32, 31), (20, 21, 22), (15, 30, 31)],
                         ids=["taken after publication", "published in the future", "repeated stamp", "runs backwards"])
def test_impossible_stamps_are_rejected(detector, stamp, publish, now):
    feed(detector, 1, 20)
    verdict = detector.update(frame(21, stamp_ns=stamp * MS, publish_ns=publish * MS), 10.0, N_PIXELS, 7, now * MS)
    assert (verdict.reason, verdict.rejected) == (status_code("clock"), 1)


def test_an_old_picture_is_stale_evidence(detector):
    feed(detector, 1, 20)
    verdict = detector.update(frame(21, stamp_ns=21 * MS, publish_ns=21 * MS), 10.0, N_PIXELS, 7, 27 * MS)
    assert (verdict.verdict, verdict.reason) == (UNKNOWN, status_code("stale"))


def test_silence_makes_the_verdict_unknown_and_it_expires(detector):
    healthy = feed(detector, 1, 20)
    assert healthy.expires_ns == 25 * MS
    assert detector.idle(25 * MS).verdict == HEALTHY
    silent = detector.idle(25 * MS + 1)
    assert (silent.verdict, silent.reason) == (UNKNOWN, status_code("stale"))


def test_new_joints_without_a_new_picture_neither_add_evidence_nor_freshness(detector):
    feed(detector, 1, 20)
    for i in range(21, 40):
        f = frame(i, fresh=False)
        verdict = detector.update(f, 90.0, N_PIXELS, 7, f.publish_ns)
    assert (verdict.verdict, verdict.alarms, verdict.sequence) == (UNKNOWN, 0, 20)


def test_a_frozen_camera_is_a_sensor_fault_and_not_a_damage(detector):
    feed(detector, 1, 20)
    for i in range(21, 60):
        f = frame(i, joints=(0.1 + 0.02 * (i - 21), 0.1))
        verdict = detector.update(f, 90.0 if i > 24 else 10.0, N_PIXELS, 7, f.publish_ns)
    assert (verdict.verdict, verdict.reason, verdict.alarms) == (FAULT, status_code("frozen"), 1)


def test_a_resting_arm_may_show_the_same_picture_for_ever(detector):
    assert feed(detector, 1, 500, mask=7).verdict == HEALTHY


def test_a_resting_arm_can_still_be_found_damaged(detector):
    feed(detector, 1, 50, mask=7)
    assert feed(detector, 51, 3, mask=8, nll=90.0).verdict == DAMAGED


EVENT = st.tuples(
    st.sampled_from([0, 1, 1, 1, 1, 2, 8, -1]),  # ms since the last frame
    st.sampled_from([0.0, 0.0, 0.0, 0.05, 0.3, math.nan, 5.0]),  # joint step, rad
    st.floats(0.0, 60.0) | st.sampled_from([math.nan, math.inf, -1.0]),  # nll
    st.integers(0, 2),  # picture
    st.sampled_from([True, True, True, False]),  # fresh
    st.sampled_from([0, 0, 0, 0, -1, 6]),  # age, ms
    st.integers(0, 20),  # 0: acknowledge, 1: idle
)


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENT, max_size=80), st.sampled_from([0, 4]))
def test_c_and_numpy_agree_on_any_stream(events, frozen_frames):
    config = settings_for(frozen_frames=frozen_frames)
    native, reference = NativeDetector(config), ReferenceDetector(config)
    now, joints, sequence = 100, 0.0, 0
    for step, move, nll, picture, fresh, age, action in events:
        now, sequence = now + step, sequence + 1
        joints = joints + move if abs(joints + move) < 1.9 else 0.0
        f = frame(sequence, (joints if move < 5 else move, 0.2), stamp_ns=(now - age) * MS, fresh=fresh)
        at = f.publish_ns + age * MS
        if action == 0:
            native.acknowledge()
            reference.acknowledge()
        if action == 1:
            assert native.idle(at) == reference.idle(at)
        assert native.update(f, nll, N_PIXELS, picture, at) == reference.update(f, nll, N_PIXELS, picture, at)


@pytest.mark.parametrize("changes", [{"std": [0.02, 0.0, 0.03]}, {"h": math.nan}, {"k": 7.0}, {"h": -1.0},
                                     {"mean": [0.1, math.inf, 0.1]}, {"stale_ns": 0}, {"bad_frames_to_unknown": 0},
                                     {"joint_min_rad": [3.0, -2.0]}, {"frozen_motion_rad": math.nan}])
def test_settings_that_could_never_judge_are_refused(changes):
    with pytest.raises(BundleError, match="refuses its settings"):
        NativeDetector(settings_for(**changes))


@pytest.mark.parametrize("changes", [{"mean": [0.1]}, {"centroids": [0.0, 1.0]}, {"k": "much"},
                                     {"joint_max_rad": [1.0]}, {"h": None}])
def test_malformed_settings_are_a_bundle_error(changes):
    with pytest.raises(BundleError, match="detector settings"):
        settings_for(**changes)
