"""Training a body model: it beats the floors in seconds, resumes without loss, and finds a chain that was wrong."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from edgekin.models import PictureShape, build_model
from edgekin.robot.kinematics import link_poses
from edgekin.robot.transforms import axis_angle
from edgekin.sim.dataset import take
from edgekin.training.floors import floors
from edgekin.training.loop import Split, Trainer
from edgekin.training.protocols import prepare
from edgekin.training.settings import TrainConfig
from edgekin.training.train import score_model

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


@pytest.fixture
def config(small_robot):
    return TrainConfig(robot=small_robot, model="k3dgs", size="s", protocol="uniform", samples=200, test_samples=60,
                       steps=300).validated()


@pytest.fixture
def prepared(config):
    torch.set_num_threads(1)
    return prepare(config)


def trained(config, spec, split, folder=None, callback=None, learn=()):
    model = build_model("k3dgs", config.size, PictureShape.of(spec), config.seed, spec, learn)
    Trainer(model, split, config, folder).run(callback)
    return model


def test_seconds_of_training_beat_the_floors_by_far(config, prepared):
    spec, split = prepared
    found, below = score_model(trained(config, spec, split), split.test), floors(split.train, split.test)
    assert found["psnr_db"] > max(floor.psnr_db for floor in below.values()) + 5
    assert found["iou"] > 0.8


def test_fewer_samples_than_a_batch_are_enough(config, prepared):
    spec, split = prepared
    few = Split(take(split.train, slice(0, 5)), split.test)
    assert score_model(trained(config, spec, few), split.test)["psnr_db"] > 10


def test_an_interrupted_training_resumes_to_the_same_weights(config, prepared, tmp_path):
    spec, split = prepared
    short = replace(config, steps=120)
    straight = trained(short, spec, split)

    def interrupt(progress, _share):
        if progress.step == 48:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trained(short, spec, split, tmp_path, interrupt)
    model = build_model("k3dgs", "s", PictureShape.of(spec), 99, spec)
    trainer = Trainer(model, split, short, tmp_path)
    trainer.resume()
    assert trainer.progress.step == 48
    trainer.run()
    for name, value in straight.module.state_dict().items():
        assert torch.equal(value, model.module.state_dict()[name]), name


def test_a_chain_that_was_wrong_is_found(config, prepared):
    spec, split = prepared
    index = next(i for i, j in enumerate(spec.joints) if j.name == "elbow")
    joint, across = spec.joints[index], across_both_axes(spec, index)
    origin = joint.origin.copy()
    origin[:3, :3] = origin[:3, :3] @ axis_angle(across, np.radians(5))
    joints = tuple(replace(j, origin=origin) if i == index else j for i, j in enumerate(spec.joints))
    bent = replace(spec, joints=joints)
    longer = replace(config, steps=1200)
    as_given = score_model(trained(longer, bent, split), split.test)["psnr_db"]
    model = trained(longer, bent, split, learn=("chain",))
    assert score_model(model, split.test)["psnr_db"] > as_given + 0.5
    # How the axis of that joint turns against the one before is what the pictures tell.
    from edgekin.models import body_reference

    q = np.zeros((1, len(spec.actuated)))
    chain = model.module.chain.detach().double().flatten()
    learned = body_reference.link_poses(bent, chain, torch.tensor(q)).numpy()[0]
    angles = [relative_axis_error(spec, poses, index) for poses in (link_poses(bent, q)[0], learned)]
    assert angles[0] == pytest.approx(5.0, abs=0.01)
    assert angles[1] < 2.5


def axes(spec, poses, index):
    """The axes of a joint and of the one before it, in the world."""
    return [poses[spec.joints[i].child][:3, :3] @ spec.joints[i].axis for i in (index, index - 1)]


def across_both_axes(spec, index):
    """The direction, in the joint's frame, about which a turn changes the angle between the two axes most."""
    poses = link_poses(spec, np.zeros((1, len(spec.actuated))))[0]
    a, b = axes(spec, poses, index)
    across = np.cross(a, b)
    return poses[spec.joints[index].child][:3, :3].T @ (across / np.linalg.norm(across))


def relative_axis_error(spec, poses, index):
    """Degrees between the angle of a joint's axis and the previous one's, and what it should be."""
    truth = link_poses(spec, np.zeros((1, len(spec.actuated))))[0]

    def between(where):
        a, b = axes(spec, where, index)
        return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))

    return abs(between(poses) - between(truth))
