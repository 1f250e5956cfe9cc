"""Training a body model: it beats the floors in seconds, resumes without loss, and finds a chain that was wrong."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from edgekin.models import PictureShape, build_model
from edgekin.robot.chain import chain_error, corrected, perturbed
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
    rough = perturbed(spec, np.radians(5), 0.01, seed=0)
    before = chain_error(spec, rough)
    assert before.worst[0] > 4.0
    assert before.worst[1] > 8e-3
    model = trained(replace(config, steps=1200), rough, split, learn=("chain",))
    found = chain_error(spec, corrected(rough, model.module.chain.detach().numpy()))
    # 200 pictures of 32x32 px; with 1,600 of 100x100 px benchmarks/learn_geometry.py ends below 0.15 deg and 0.1 mm.
    assert found.worst[0] < 1.5
    assert found.worst[1] < 2e-3
