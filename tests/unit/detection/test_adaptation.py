"""Adaptation on the arm whose model is exact: what changed is taken over, kept where it fits, else given back."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.detection.adaptation import ADAPTED, FITTING, GIVEN_BACK, TRYING, WATCHING, Adapter, deviated
from edgekin.detection.inspection import fit
from edgekin.detection.looks import first_config, look_at
from edgekin.robot import load_robot, parse_events
from edgekin.robot.damage import apply_damage
from edgekin.robot.kinematics import link_poses
from edgekin.runtime.inspector import STRETCH, TURN, Deviation, Inspector
from tests.exact_arm import CAMERA_HZ, World, exact_arm

DEGREE = np.pi / 180
BEFORE, AFTER = 60, 90


@pytest.fixture(scope="module")
def world():
    world = World(*exact_arm())
    yield world
    world.close()


@pytest.fixture(scope="module")
def adapter(world):
    world.restart(100)
    first = first_config(world.robot, CAMERA_HZ)
    fitted = fit(first, look_at(world.model, first, [[world.show(2100)]]))
    with Inspector(world.model, replace(fitted, threshold=15.0, unexplained_sum=60.0)) as inspector:
        yield Adapter(inspector)


def watch(adapter, stretch):
    """Return the states behind every frame of a stretch."""
    return [adapter.judge(q, masks, sent) for q, sent, masks in
            zip(stretch.joint_pos, stretch.commanded, stretch.masks, strict=True)]


def picture(world, q):
    world.model.run(q)
    return world.model.logits()


@pytest.mark.parametrize("degrees", [5.0, 12.0])
def test_a_bend_is_taken_over_and_given_back_exactly(world, adapter, degrees):
    adapter.reset()
    world.restart(3)
    pose = world.robot.limits.mean(axis=1) + 0.3
    before = picture(world, pose)
    assert set(watch(adapter, world.show(BEFORE))) == {WATCHING}
    bent = 4 * 1  # the second joint's own axis
    world.deviate({bent: degrees * DEGREE})
    states = watch(adapter, world.show(AFTER))
    assert states[-1] == ADAPTED
    assert FITTING in states
    assert adapter.result.sizes[bent] == pytest.approx(degrees * DEGREE, abs=0.7 * DEGREE)
    world.engine.run(pose)
    truth, now = world.engine.logits() > 0, picture(world, pose) > 0
    assert (now != truth).sum() < 0.2 * ((before > 0) != truth).sum()
    adapter.reset()
    np.testing.assert_array_equal(picture(world, pose), before)


def test_what_no_parameter_repairs_is_given_back_at_once(world, adapter):
    adapter.reset()
    world.restart(4)
    watch(adapter, world.show(BEFORE))
    world.lose(world.robot.actuated[2].child)
    assert watch(adapter, world.show(AFTER))[-1] == GIVEN_BACK
    assert adapter.result.sizes is None
    assert adapter.result.named.what == "lost"
    adapter.reset()
    assert adapter.result.state == WATCHING


def test_a_body_that_does_not_stay_as_it_was_taken_over_is_given_back(world, adapter):
    adapter.reset()
    world.restart(5)
    watch(adapter, world.show(BEFORE))
    world.deviate({4: 8 * DEGREE})
    stretch = world.show(AFTER)
    frames = zip(stretch.joint_pos, stretch.commanded, stretch.masks, strict=True)
    assert any(adapter.judge(q, masks, sent) == TRYING for q, sent, masks in frames)
    world.deviate({4: -8 * DEGREE})
    assert watch(adapter, world.show(AFTER))[-1] == GIVEN_BACK
    assert adapter.result.sizes is None


@pytest.mark.parametrize("what", ["bend:2:10", "short:2:10"])
def test_kinematics_deviate_as_the_damage_does(what):
    robot = load_robot("arm4")
    damaged = apply_damage(robot, parse_events(what)[0])
    joint = robot.actuated[1]
    axis = tuple(joint.axis) if what.startswith("bend") else (0.0, 0.0, 1.0)  # arm4's links lie along their z
    deviation = Deviation(TURN if what.startswith("bend") else STRETCH, joint.child, axis)
    size = 10 * DEGREE if what.startswith("bend") else -0.1
    q = np.random.default_rng(0).uniform(*robot.limits.T, (20, 4))
    moved, truth = (link_poses(spec, q) for spec in (deviated(robot, [deviation], np.array([size])), damaged))
    beyond = robot.actuated[2].child
    np.testing.assert_allclose(moved[:, beyond:], truth[:, beyond:], atol=1e-9)
    assert np.abs(link_poses(robot, q)[:, beyond:] - truth[:, beyond:]).max() > 0.01
