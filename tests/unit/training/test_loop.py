"""The loop: it learns, it resumes without loss, it stops between steps."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from edgekin.errors import ConfigError, DataError
from edgekin.models import PictureShape, build_model
from edgekin.sim.dataset import take
from edgekin.training.floors import floors
from edgekin.training.loop import CHECKPOINT, Split, Trainer, learning_rate
from edgekin.training.protocols import prepare
from edgekin.training.settings import TrainConfig
from edgekin.training.train import score_model

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
SHAPE = PictureShape(4, 1, 32, 32)


@pytest.fixture
def config(small_robot):
    return TrainConfig(robot=small_robot, size="s", protocol="uniform", samples=400, test_samples=100,
                       steps=60).validated()


@pytest.fixture
def split(config):
    return prepare(config)[1]


def trained(config, split, folder=None, callback=None):
    model = build_model("neurokin", config.size, SHAPE, config.seed)
    trainer = Trainer(model, split, config, folder)
    trainer.run(callback)
    return model, trainer


def weights(model):
    return {name: value.numpy() for name, value in model.module.state_dict().items()}


def test_training_beats_the_floors(config, split):
    torch.set_num_threads(1)
    model, trainer = trained(replace(config, steps=400), split)
    found, below = score_model(model, split.test), floors(split.train, split.test)
    assert found["psnr_db"] > max(floor.psnr_db for floor in below.values()) + 0.5
    assert found["iou"] > max(floor.iou for floor in below.values())
    assert trainer.progress.loss[-1][2] < 0.5 * trainer.progress.loss[0][2]
    assert trainer.progress.held_out[-1][0] == 400


def test_an_interrupted_training_resumes_to_the_same_weights(config, split, tmp_path):
    torch.set_num_threads(1)
    straight, whole = trained(config, split)

    def interrupt(progress, _share):
        if progress.step == 32:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trained(config, split, tmp_path, interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    model = build_model("neurokin", "s", SHAPE, seed=99)  # other weights: all must come from the checkpoint
    trainer = Trainer(model, split, config, tmp_path)
    trainer.resume()
    assert trainer.progress.step == 32
    trainer.run()
    for name, value in weights(straight).items():
        assert np.array_equal(value, weights(model)[name]), name
    assert [p[2] for p in trainer.progress.held_out] == [p[2] for p in whole.progress.held_out]
    np.testing.assert_allclose([p[2] for p in trainer.progress.loss], [p[2] for p in whole.progress.loss], rtol=1e-6)


def test_angle_noise_is_drawn_anew_in_every_step_and_repeats_with_the_seed(config, split):
    torch.set_num_threads(1)
    noisy = replace(config, steps=8, angle_noise_rad=0.05).validated()
    trainer = Trainer(build_model("neurokin", "s", SHAPE), split, noisy, None)
    index = torch.arange(400)
    first = trainer._joints(index) - trainer.joint_pos
    assert first.std().item() == pytest.approx(0.05, rel=0.1)
    assert torch.allclose(first, trainer._joints(index) - trainer.joint_pos)
    trainer.progress.step += 1
    assert not torch.allclose(first, trainer._joints(index) - trainer.joint_pos)
    same = [weights(trained(noisy, split)[0]) for _ in range(2)]
    plain = weights(trained(replace(noisy, angle_noise_rad=0.0), split)[0])
    assert all(np.array_equal(same[0][name], same[1][name]) for name in plain)
    assert not all(np.array_equal(same[0][name], plain[name]) for name in plain)


def test_depth_costs_what_its_weight_says(config):
    torch.set_num_threads(1)
    deep = replace(config, model="resneurokin-d", samples=64, test_samples=8)
    split, totals = prepare(deep)[1], {}
    for weight in (0.0, 1.0, 10.0):
        model = build_model("resneurokin-d", "s", SHAPE, 0)
        trainer = Trainer(model, split, replace(deep, depth_weight=weight).validated(), None)
        totals[weight] = float(trainer._losses_of(torch.arange(16), 0.0)[1].detach())
    assert totals[0.0] < totals[1.0]
    assert totals[10.0] - totals[0.0] == pytest.approx(10 * (totals[1.0] - totals[0.0]), rel=1e-3)


def test_a_time_budget_goes_on_where_it_stood(config, split, tmp_path):
    budget = replace(config, steps=None, budget_s=0.6)
    trainer = Trainer(build_model("neurokin", "s", SHAPE), split, budget, tmp_path)
    trainer.progress.elapsed_s = 0.5
    trainer.save()
    again = Trainer(build_model("neurokin", "s", SHAPE), split, budget, tmp_path)
    again.resume()
    assert again.progress.share(budget) == pytest.approx(0.5 / 0.6)
    assert again.run().elapsed_s >= 0.6


def test_a_damaged_checkpoint_is_refused(config, split, tmp_path):
    trainer = Trainer(build_model("neurokin", "s", SHAPE), split, config, tmp_path)
    trainer._step()
    trainer.save()
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=CHECKPOINT):
        trainer.resume()


def test_a_checkpoint_of_another_size_is_refused(config, split, tmp_path):
    trainer = Trainer(build_model("neurokin", "s", SHAPE), split, config, tmp_path)
    trainer._step()
    trainer.save()
    with pytest.raises(ConfigError, match="does not fit"):
        Trainer(build_model("neurokin", "m", SHAPE), split, config, tmp_path).resume()


def test_a_training_that_diverges_says_so(config, split):
    model = build_model("neurokin", "s", SHAPE)
    with torch.no_grad():
        next(model.module.parameters()).fill_(float("nan"))
    with pytest.raises(ConfigError, match="diverged"):
        Trainer(model, split, config).run()


def test_fewer_samples_than_a_batch_are_refused(config, split):
    few = Split(take(split.train, slice(0, 5)), split.test)
    with pytest.raises(DataError, match="fewer than a batch"):
        Trainer(build_model("neurokin", "s", SHAPE), few, config)


def test_the_learning_rate_rises_and_falls(config):
    rates = [learning_rate(config, share) for share in np.linspace(0, 1, 101)]
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(config.learning_rate, rel=1e-3)
    assert peak <= 3
    assert all(a >= b for a, b in zip(rates[peak:], rates[peak + 1 :], strict=False))
    assert 0 < rates[-1] < 0.01 * rates[peak]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused(config, split):
    with pytest.raises(ConfigError, match="no GPU"):
        Trainer(build_model("neurokin", "s", SHAPE), split, replace(config, device="cuda"))
