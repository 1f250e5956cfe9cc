"""The simulated arm: its motion, what each damage does to it, and its life as a process."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pybullet", reason="pybullet is not installed: pip install 'edgekin[train]'")

from edgekin.errors import ConfigError, RuntimeFault
from edgekin.robot import load_robot, parse_events
from edgekin.runtime.ring import FRAME_DAMAGED, RingReader
from edgekin.sim.alongside import ArmOptions, ArmProcess
from edgekin.sim.arm import SimulatedArm, healthy_trajectories
from edgekin.sim.motion import LorenzMotion

LIMITS = np.array([[-1.5, 1.5], [-1.0, 2.0], [-3.0, 3.0]])


@pytest.fixture(scope="module")
def spec():
    return load_robot("arm4")


def path_of(motion, seconds, hz):
    return np.array([motion.advance(1 / hz)[0] for _ in range(int(seconds * hz))])


def test_the_motion_stays_in_its_limits_and_below_its_speed():
    path = path_of(LorenzMotion(LIMITS, seed=1), 60, 200)
    assert (path >= LIMITS[:, 0]).all()
    assert (path <= LIMITS[:, 1]).all()
    assert np.abs(np.diff(path, axis=0)).max() * 200 < 2.0
    assert (np.ptp(path, axis=0) > 0.5 * np.ptp(LIMITS, axis=1)).all()


def test_the_motion_does_not_depend_on_the_rate_it_is_sampled_at():
    fast, slow = path_of(LorenzMotion(LIMITS, 3), 4, 1000), path_of(LorenzMotion(LIMITS, 3), 4, 50)
    np.testing.assert_allclose(fast[19::20], slow, atol=1e-9)


def test_the_motion_s_velocity_is_its_derivative():
    motion = LorenzMotion(LIMITS, 4)
    places, speeds = zip(*(motion.advance(1e-3) for _ in range(2000)), strict=True)
    np.testing.assert_allclose(np.diff(places, axis=0) * 1e3, np.array(speeds)[1:], atol=0.02)


def test_another_seed_is_another_motion_and_the_same_seed_the_same():
    one, same, other = (path_of(LorenzMotion(LIMITS, seed), 2, 50) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


def run_both(spec, damage, steps=300, onset=100):
    """Return (healthy, damaged) arms after the same motion."""
    arms = SimulatedArm(spec, 2), SimulatedArm(spec, 2, events=parse_events(f"{damage}@{onset / 1000}"))
    for _ in range(steps):
        states = [arm.step() for arm in arms]
    pictures = [arm.picture() for arm in arms]
    for arm in arms:
        arm.close()
    return states, pictures


@pytest.mark.parametrize("damage", ["bend:2:20", "short:2:30", "lost:3"])
def test_a_damaged_body_looks_different_while_its_encoders_go_on(spec, damage):
    (healthy, damaged), (before, after) = run_both(spec, damage)
    np.testing.assert_allclose(damaged.published_pos, healthy.published_pos, atol=0.02)
    np.testing.assert_array_equal(damaged.published_pos, damaged.true_pos)
    assert np.unpackbits(before ^ after).sum() > 30


def test_a_biased_encoder_lies_about_one_joint_only(spec):
    (healthy, damaged), (before, after) = run_both(spec, "encoder-bias:2:10")
    np.testing.assert_allclose(damaged.true_pos, healthy.true_pos, atol=1e-9)
    np.testing.assert_allclose(damaged.published_pos - damaged.true_pos, [0, np.radians(10), 0, 0], atol=1e-12)
    np.testing.assert_array_equal(before, after)


def test_a_seized_joint_stays_where_it_was_and_says_so(spec):
    (healthy, damaged), _ = run_both(spec, "seized:2", steps=1500)
    assert abs(damaged.true_pos[1] - healthy.true_pos[1]) > 0.05
    np.testing.assert_array_equal(damaged.published_pos, damaged.true_pos)


@pytest.mark.parametrize(("nuisance", "pictures", "alarm"), [
    ("camera-bump:5", True, True), ("occlusion:10", True, False), ("latency:100", True, False), ("tool:10", True, True),
    ("encoder-gain:2:10", False, True)])
def test_the_same_events_happen_to_the_live_arm(spec, nuisance, pictures, alarm):
    (healthy, changed), (before, after) = run_both(spec, nuisance)
    np.testing.assert_allclose(changed.true_pos, healthy.true_pos, atol=1e-9)
    assert (np.unpackbits(before ^ after).sum() > 0) == pictures
    arm = SimulatedArm(spec, 2, events=parse_events(f"{nuisance}@0.002"))
    arm.step()
    assert not arm.changed
    arm.step()
    assert (arm.changed, arm.should_alarm) == (True, alarm)
    arm.close()


def test_healthy_trajectories_are_repeatable_and_independent(spec):
    first = healthy_trajectories(spec, 0.4, 25.0, seed=9, trajectories=3)
    again = healthy_trajectories(spec, 0.4, 25.0, seed=9, trajectories=3)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    joint_pos, packed, ids = first
    assert joint_pos.shape == (30, 4)
    assert packed.shape == (30, 1, 100, 13)
    np.testing.assert_array_equal(ids, np.repeat([0, 1, 2], 10))
    assert np.abs(joint_pos[:10] - joint_pos[10:20]).max() > 0.1


def options(tmp_path, **changes):
    return ArmOptions(**{"robot": "arm4", "ring": tmp_path / "arm.ring", "camera_hz": 200.0, "seed": 1, **changes})


def test_the_process_publishes_breaks_on_time_reports_and_cleans_up(tmp_path):
    chosen = options(tmp_path, damage="bend:2:20@0.2")
    with ArmProcess(chosen) as arm, RingReader(chosen.ring) as ring:
        assert ring.read() is not None  # frames before the clock starts
        start_ns = time.monotonic_ns()
        arm.go(start_ns)
        frame, deadline = ring.read(), time.monotonic() + 60
        while not frame.flags & FRAME_DAMAGED:
            assert time.monotonic() < deadline
            assert ring.wait(frame.sequence, 30)
            frame = ring.read()
        report = arm.stop()
    assert report.onset_ns >= start_ns + 200_000_000
    assert report.frames >= frame.sequence
    assert not chosen.ring.exists()
    assert not arm.alive


@pytest.mark.parametrize(("changes", "message"), [({"robot": "no_such_robot"}, "not found"),
                                                  ({"damage": "bend:elbow_of_another:5"}, "does not have"),
                                                  ({"ring": Path("/proc/nowhere.ring")}, "ring")])
def test_a_child_that_cannot_start_says_why(tmp_path, changes, message):
    with pytest.raises(RuntimeFault, match=message):
        ArmProcess(options(tmp_path, **changes))
    assert not (tmp_path / "arm.ring").exists()


def test_the_damage_must_fit_the_robot(spec):
    with pytest.raises(ConfigError):
        SimulatedArm(spec, 1, events=parse_events("bend:9:20"))


PARENT = """
    import sys, time
    from pathlib import Path
    from edgekin.sim.alongside import ArmOptions, ArmProcess
    arm = ArmProcess(ArmOptions("arm4", Path(sys.argv[1]), 100.0, 1))
    print(arm.pid, flush=True)
    time.sleep(600)
"""


def test_the_arm_dies_with_its_parent(tmp_path):
    ring = tmp_path / "orphan.ring"
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(ring)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert ring.exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while running(child) or ring.exists():
        assert time.monotonic() < deadline, "the orphan lives on"
        time.sleep(0.05)


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        assert pid != os.getpid()
