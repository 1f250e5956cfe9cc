"""A linear patch on the arm whose model is exact: a lost link is found and taken away, a carried thing is drawn."""

import numpy as np
import pytest

from edgekin.detection.adaptation import ADAPTED, FITTING, GIVEN_BACK, TRYING
from edgekin.detection.patch import Patcher
from edgekin.errors import RuntimeFault
from edgekin.runtime.engine import Engine

FRAMES, TRIED = 12, 20


@pytest.fixture
def model(world):
    with Engine(world.blob) as engine:
        yield engine


def judge(patcher, stretch):
    return [patcher.judge(q, masks) for q, masks in zip(stretch.joint_pos, stretch.masks, strict=True)]


def test_a_lost_link_has_the_weight_one_and_its_pictures_are_made(world, model):
    world.restart(11)
    lost = world.robot.actuated[2].child
    world.lose(lost)
    patcher = Patcher(model, world.robot, FRAMES)
    states = judge(patcher, world.show(FRAMES + TRIED))
    assert states == [FITTING] * (FRAMES - 1) + [TRYING] * TRIED + [ADAPTED]
    weights = patcher.patch.weights[:4]
    assert weights[2] == pytest.approx(1.0, abs=0.1)
    assert np.abs(weights[[0, 1]]).max() < 0.1
    q = world.robot.limits.mean(axis=1) + 0.4
    world.engine.run(q)
    truth = 1 / (1 + np.exp(-world.engine.logits()))
    stale, patched = patcher.patch.predict(q)
    assert np.square(patched - truth).sum() < 0.1 * np.square(stale - truth).sum()


def test_a_healthy_arm_is_given_back_and_the_engine_is_as_it_was(world, model):
    world.restart(12)
    q = np.full(4, 0.2)
    model.run(q)
    before = model.logits()
    patcher = Patcher(model, world.robot, FRAMES)
    assert judge(patcher, world.show(FRAMES + TRIED))[-1] == GIVEN_BACK
    assert np.abs(patcher.patch.weights[:4]).max() < 0.1
    model.run(q)
    np.testing.assert_array_equal(model.logits(), before)


def test_something_carried_at_the_tip_is_drawn(world, model):
    world.restart(13)
    patcher = Patcher(model, world.robot, FRAMES)
    patch = patcher.patch
    for q in world.move(FRAMES):
        whole, features = patch._features(q)
        carried = (whole > 0.5) | (features[4:].sum(axis=0) > 0.8)
        patch.learn(q, carried)
    whole, patched = patch.predict(q)
    assert np.square(patched - carried).sum() < 0.6 * np.square(whole - carried).sum()


def test_only_links_of_a_body_can_be_hidden(model):
    with pytest.raises(RuntimeFault, match="cannot hide link 99"):
        model.hide(99)
