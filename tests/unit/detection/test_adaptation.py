"""Adaptation on the arm whose model is exact: what changed is taken over, kept where it fits, else given back."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.detection.adaptation import (
    ADAPTED,
    FIT_FRAMES,
    FITTING,
    GIVEN_BACK,
    TRY_FRAMES,
    TRYING,
    WATCHING,
    Adapter,
)
from edgekin.detection.deviated import deviated
from edgekin.errors import RuntimeFault
from edgekin.robot import load_robot, parse_events
from edgekin.robot.damage import apply_damage
from edgekin.robot.kinematics import link_poses
from edgekin.runtime.changed import ChangedBody
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.inspector_config import STRETCH, TURN, Deviation
from tests.exact_arm import taught

DEGREE = np.pi / 180
BEFORE, AFTER = 60, 90


@pytest.fixture(scope="module")
def adapter(world):
    with Inspector(world.model, taught(world)) as inspector:
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
    assert adapter.result.change.sizes[bent] == pytest.approx(degrees * DEGREE, abs=0.3 * DEGREE)
    assert [(named.what, named.part) for named in adapter.result.change.named] == [("bend", "upper_arm")]
    world.engine.run(pose)
    truth, now = world.engine.logits() > 0, picture(world, pose) > 0
    assert (now != truth).sum() < 0.1 * ((before > 0) != truth).sum()
    adapter.reset()
    np.testing.assert_array_equal(picture(world, pose), before)


def test_a_lost_link_is_taken_over_with_a_bend_beside_it_and_given_back_where_it_is_there_again(world, adapter):
    adapter.reset()
    world.restart(4)
    pose = world.robot.limits.mean(axis=1) + 0.3
    before = picture(world, pose)
    watch(adapter, world.show(BEFORE))
    world.lose(world.robot.actuated[2].child)
    states = watch(adapter, world.show(AFTER))
    assert (FITTING in states, states[-1]) == (False, ADAPTED)
    assert adapter.result.change.lost == world.robot.actuated[2].child
    assert [str(named) for named in adapter.result.change.named] == ["lost of forearm"]
    without = picture(world, pose)
    world.engine.run(pose)
    np.testing.assert_array_equal(without > 0, world.engine.logits() > 0)
    world.deviate({4: 8 * DEGREE})
    assert watch(adapter, world.show(AFTER))[-1] == ADAPTED
    assert [(one.what, one.part) for one in adapter.result.change.named] == [("bend", "upper_arm"), ("lost", "forearm")]
    world.restart(5)
    watch(adapter, world.show(2 * AFTER))
    assert adapter.result.change is None
    np.testing.assert_array_equal(picture(world, pose), before)


def test_what_no_parameter_repairs_is_given_back_at_once(world, adapter):
    adapter.reset()
    world.restart(4)
    watch(adapter, world.show(BEFORE))
    lit = world.show(AFTER)
    lit.masks[:, :, :20] = 0xff  # something bright before the camera
    assert watch(adapter, lit)[-1] == GIVEN_BACK
    assert adapter.result.change is None
    assert adapter.result.named.what == "unexplained"
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
    assert watch(adapter, world.show(TRY_FRAMES))[-1] == GIVEN_BACK
    assert adapter.result.change is None


@pytest.mark.parametrize(("sizes", "named"), [
    ({4: 6 * DEGREE, 11: -0.1}, {("bend", "upper_arm"), ("short", "forearm")}),
    ({16: 1 * DEGREE}, {("camera-bump", "camera 1")})])
def test_several_parts_and_cameras_are_taken_over(world, adapter, sizes, named):
    adapter.reset()
    world.restart(6)
    watch(adapter, world.show(BEFORE))
    world.deviate(sizes)
    assert watch(adapter, world.show(2 * AFTER))[-1] == ADAPTED
    assert {(one.what, one.part) for one in adapter.result.change.named} == named
    for index, size in sizes.items():
        assert adapter.result.change.sizes[index] == pytest.approx(size, rel=0.2)


def test_an_encoder_that_is_off_is_taken_over_and_its_offset_no_alarm_again(world, adapter):
    adapter.reset()
    world.restart(7)
    watch(adapter, world.show(BEFORE))
    stretch = world.show(3 * AFTER)
    stretch.joint_pos[:, 1] += 3 * DEGREE
    states = watch(adapter, stretch)
    assert states[-1] == ADAPTED
    assert states.count(FITTING) <= FIT_FRAMES
    assert adapter.result.change.sizes[4] == pytest.approx(-3 * DEGREE, abs=0.5 * DEGREE)
    assert adapter.offsets == pytest.approx([0, -adapter.result.change.sizes[4], 0, 0])
    held = adapter.offsets.copy()
    world.lose(world.robot.actuated[3].child)
    stretch = world.show(AFTER)
    stretch.joint_pos[:, 1] += 3 * DEGREE
    assert watch(adapter, stretch)[-1] == ADAPTED
    assert adapter.result.change.lost == world.robot.actuated[3].child
    np.testing.assert_array_equal(adapter.offsets, held)  # of the encoder, still
    adapter.reset()
    assert not adapter.offsets.any()


@pytest.mark.parametrize("sizes", [{4: 8 * DEGREE}, {7: -0.15}])
def test_an_arm_that_is_repaired_gets_the_model_back_exactly(world, adapter, sizes):
    adapter.reset()
    world.restart(8)
    watch(adapter, world.show(BEFORE))
    world.deviate(sizes)
    assert watch(adapter, world.show(AFTER))[-1] == ADAPTED
    world.deviate({})
    assert GIVEN_BACK in watch(adapter, world.show(3 * AFTER))
    assert adapter.result.change is None


def test_whoever_steers_hears_of_every_change(world, adapter):
    told = []
    inspector = adapter._inspector
    listening = Adapter(inspector, told.append, fit_frames=30)
    world.restart(9)
    watch(listening, world.show(BEFORE))
    world.deviate({4: 8 * DEGREE})
    assert watch(listening, world.show(AFTER))[-1] == ADAPTED
    np.testing.assert_array_equal(told[-1].sizes, listening.result.change.sizes)
    assert not told[-1].offsets.any()  # no encoder is off
    assert listening.result.done_frame - listening.result.alarm_frame == 30 + TRY_FRAMES
    listening.reset()
    assert told[-1] is None


def test_a_measure_leaves_what_was_found(world, adapter):
    adapter.reset()
    world.restart(10)
    inspector, frames = adapter._inspector, world.show(3)
    watch(adapter, frames)
    before = inspector.finding, [part.copy() for part in inspector.look()]
    body = ChangedBody(np.zeros(len(inspector.config.deviations)), np.zeros(4))
    straight = inspector.measure(frames.joint_pos[0], frames.masks[0], body)[2]
    assert inspector.measure(frames.joint_pos[0], frames.masks[0], replace(body, lost=4))[2] > 2 * straight
    assert inspector.measure(frames.joint_pos[0], frames.masks[0], body)[2] == straight
    body.sizes[4] = 5 * DEGREE
    information, score, bent = inspector.measure(frames.joint_pos[0], frames.masks[0], body)
    assert bent > 2 * straight
    assert score[4] < 0  # back to the straight arm
    np.testing.assert_allclose(information, information.T)
    assert inspector.finding == before[0]
    for now, then in zip(inspector.look(), before[1], strict=True):
        np.testing.assert_array_equal(now, then)
    with pytest.raises(RuntimeFault, match="sizes of deviations"):
        inspector.measure(frames.joint_pos[0], frames.masks[0], replace(body, sizes=body.sizes[1:]))


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
