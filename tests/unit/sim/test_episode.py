"""Streams of frames: repeatable, whatever the chunks; what each event changes in them, and what it must not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
