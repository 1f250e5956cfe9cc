"""Streams of frames: repeatable, whatever the chunks; what each event changes in them, and what it must not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekin.errors import ConfigError
from edgekin.robot import RobotOptions, load_robot, parse_events
from edgekin.robot.cameras import camera, look_at
from edgekin.sim.episode import Episode, Frames, Noise
from edgekin.sim.motion import LorenzMotion
from edgekin.sim.renderer import Renderer

COLUMNS = ("time_s", "commanded", "joint_pos", "true_pos", "masks")
QUIET = Noise(0.0, 0.0)


@pytest.fixture(scope="module")
def spec():
    return load_robot("arm4", RobotOptions(cameras=(camera(look_at((1, 0, 0.3), (0, 0, 0.3)), width=70, height=60),)))


def whole(spec, text="", seconds=6.0, hz=50.0, seed=3, noise=QUIET, size=10_000):
    parts = list(Episode(spec, parse_events(text), hz, seconds, seed, noise).chunks(size))
    return Frames(0, *(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS))


def same(one, other):
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_a_healthy_stream_shows_the_robot_at_its_command(spec):
    frames = whole(spec)
    motion = LorenzMotion(spec.limits, 3)
    np.testing.assert_allclose(frames.commanded, [motion.advance(0.02)[0] for _ in range(300)], atol=1e-9)
    np.testing.assert_array_equal(frames.joint_pos, frames.commanded)
    np.testing.assert_array_equal(frames.true_pos, frames.commanded)
    np.testing.assert_array_equal(frames.time_s, np.arange(300) / 50)
    with Renderer(spec) as renderer:
        np.testing.assert_array_equal(frames.masks, renderer.masks(frames.true_pos))


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 400))
def test_chunks_change_nothing(spec, size):
    text = "backlash:2:3@0.5+occlusion:4@1+jitter:30@2+lighting:10@2.2+stale-joints@5.5"
    parts = list(Episode(spec, parse_events(text), 50.0, 6.0, 3).chunks(size))
    assert [part.first for part in parts] == list(range(0, 300, size))
    assert {len(part) for part in parts[:-1]} <= {size}
    same(whole(spec, text, noise=Noise(), size=size), whole(spec, text, noise=Noise()))


def test_another_seed_is_another_trajectory_with_other_noise(spec):
    one, other = whole(spec, noise=Noise()), whole(spec, noise=Noise(), seed=4)
    assert np.abs(one.commanded - other.commanded).mean() > 0.1
    assert np.abs(np.corrcoef((one.joint_pos - one.true_pos).ravel(),
                              (other.joint_pos - other.true_pos).ravel())[0, 1]) < 0.1


def flips(one, other):
    return np.unpackbits(one.masks ^ other.masks, axis=-1).sum(axis=(1, 2, 3))


@pytest.mark.parametrize(("text", "joints", "true", "masks"), [
    ("bend:2:20", False, False, True), ("twist:2:40", False, False, True), ("short:2:30", False, False, True),
    ("lost:3", False, False, True), ("tool:10", False, False, True), ("camera-bump:5", False, False, True),
    ("seized:2", True, True, True), ("backlash:2:10", False, True, True), ("encoder-bias:2:5", True, False, False),
    ("encoder-drift:2:60", True, False, False), ("encoder-gain:2:10", True, False, False),
    ("mask-noise:2", False, False, True), ("boundary-noise:10", False, False, True),
    ("occlusion:10", False, False, True), ("lighting:20", False, False, True), ("latency:100", False, False, True),
    ("jitter:100", False, False, True), ("frozen-camera", False, False, True), ("stale-joints", True, False, False)])
def test_each_event_changes_what_it_says_from_its_onset_on_and_nothing_else(spec, text, joints, true, masks):
    stream = Episode(spec, parse_events(f"{text}@2"), 50.0, 6.0, 3, Noise())
    healthy, changed = whole(spec, noise=Noise()), whole(spec, f"{text}@2", noise=Noise())
    assert stream.onset_frame == 100
    np.testing.assert_array_equal(changed.commanded, healthy.commanded)
    for name, moves in (("joint_pos", joints), ("true_pos", true)):
        before, after = (np.abs(getattr(changed, name) - getattr(healthy, name))[part] for part in
                         (slice(0, 100), slice(100, None)))
        assert before.max() == 0
        assert (after[:, 1].max() > 0.01) == moves
        assert (np.delete(after, 1, axis=1).max() > 0) == (moves and text == "stale-joints")
    assert flips(healthy, changed)[:100].max() == 0
    assert (flips(healthy, changed)[100:].max() > 0) == masks


def test_encoders_err_by_the_size_asked_for(spec):
    late = slice(100, None)
    bias, drift, gain = (whole(spec, f"{text}@2") for text in ("encoder-bias:2:5", "encoder-drift:2:60",
                                                               "encoder-gain:2:10"))
    error = [(frames.joint_pos - frames.true_pos)[late, 1] for frames in (bias, drift, gain)]
    np.testing.assert_allclose(np.degrees(error[0]), 5, atol=1e-9)
    np.testing.assert_allclose(np.degrees(error[1]), bias.time_s[late] - 2, atol=1e-9)
    np.testing.assert_allclose(error[2], 0.1 * gain.true_pos[late, 1], atol=1e-12)


def test_backlash_keeps_within_half_its_play_and_reaches_both_sides(spec):
    frames = whole(spec, "backlash:2:4", seconds=20)
    lag = np.degrees(frames.true_pos - frames.joint_pos)[:, 1]
    assert -2 - 1e-9 <= lag.min() < -1.9
    assert 1.9 < lag.max() <= 2 + 1e-9


def test_pictures_lose_the_share_asked_for(spec):
    healthy, dark, covered = (whole(spec, text) for text in ("", "lighting:20@2", "occlusion:10@2"))
    on = [np.unpackbits(frames.masks, axis=-1, count=70).sum(axis=(1, 2, 3))[100:] for frames in (healthy, dark)]
    np.testing.assert_allclose(on[1] / on[0], 0.8, atol=0.01)
    assert not (dark.masks & ~healthy.masks).any()
    assert not (covered.masks & ~healthy.masks).any()
    assert flips(healthy, covered)[100] > 0


def test_late_pictures_show_what_was(spec):
    healthy, late, frozen = (whole(spec, text) for text in ("", "latency:100@2", "frozen-camera@2"))
    np.testing.assert_array_equal(late.masks[105:], healthy.masks[100:-5])
    np.testing.assert_array_equal(frozen.masks[100:], np.broadcast_to(frozen.masks[99], frozen.masks[100:].shape))


def test_noise_is_as_large_as_asked_for_and_new_in_every_frame(spec):
    clean, noisy, salted = whole(spec), whole(spec, noise=Noise(0.2, 10.0)), whole(spec, "mask-noise:2")
    error = np.degrees(noisy.joint_pos - noisy.true_pos)
    assert error.std() == pytest.approx(0.2, rel=0.1)
    bits = np.unpackbits(clean.masks, axis=-1, count=70).astype(bool)
    edge = np.zeros_like(bits)
    for axis in (2, 3):
        differ = np.diff(bits, axis=axis)
        for part in (slice(1, None), slice(None, -1)):
            edge[tuple([slice(None)] * axis + [part])] |= differ
    flipped = np.unpackbits(noisy.masks ^ clean.masks, axis=-1, count=70).astype(bool)
    assert not (flipped & ~edge).any()
    assert flipped.sum() / edge.sum() == pytest.approx(0.1, rel=0.1)
    assert flips(clean, salted).mean() == pytest.approx(0.02 * 70 * 60, rel=0.05)
    assert (flipped[1:] != flipped[:-1]).any(axis=(1, 2, 3)).mean() > 0.9


def test_poses_fill_the_joint_range_and_refuse_what_needs_time(spec):
    frames = Episode(spec, parse_events("encoder-bias:2:3@5"), noise=QUIET).poses(500)
    share = np.ptp(frames.true_pos, axis=0) / np.ptp(spec.limits, axis=1)
    assert (share > 0.97).all()
    np.testing.assert_allclose(np.degrees(frames.joint_pos - frames.true_pos)[:, 1], 3)
    with pytest.raises(ConfigError, match="in time"):
        Episode(spec, parse_events("seized:2")).poses(10)
