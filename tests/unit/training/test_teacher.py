"""Distillation: the teacher's poses are repeatable and where the data are, and a decoder learns more from them."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from edgekin.errors import ConfigError
from edgekin.models import PictureShape, build_model
from edgekin.robot import load_robot
from edgekin.training.protocols import prepare
from edgekin.training.run import BODY_FOLDER, METRICS, WEIGHTS, latest_unfinished, load_run
from edgekin.training.settings import BODY, TrainConfig, fresh_of
from edgekin.training.teacher import Poses, Teacher
from edgekin.training.train import resume, train

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


@pytest.fixture
def config(small_robot):
    return TrainConfig(robot=small_robot, size="s", teacher=BODY, protocol="uniform", samples=80, test_samples=60,
                       steps=300, name="pair").validated()


def weights(run):
    return {name: value.numpy() for name, value in run.model().state_dict().items()}


def test_a_teacher_repeats_its_poses_and_draws_them(config):
    spec, split = prepare(config)
    model = build_model("k3dgs", "s", PictureShape.of(spec), 0, spec)
    teacher, again = (Teacher(model, Poses.of(split.train, spec.limits), 3) for _ in range(2))
    q, pictures = teacher.batch(7, 5)
    assert (q.shape, pictures.shape) == ((5, 4), (5, 1, 32, 32))
    np.testing.assert_allclose(pictures, model.probabilities(q), atol=1e-5)
    for a, b in zip((q, pictures), again.batch(7, 5), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(q, teacher.batch(8, 5)[0])
    with pytest.raises(ConfigError, match="cannot teach"):
        Teacher(build_model("neurokin", "s", PictureShape.of(spec)), Poses.of(split.train, spec.limits), 0)


def test_a_teacher_tells_how_far_the_robot_is_that_it_draws(small_robot):
    spec = load_robot(small_robot)
    model = build_model("k3dgs", "s", PictureShape.of(spec), 0, spec)
    teacher = Teacher(model, Poses(spec.limits, None), 0, tells_depth=True)
    q, probability = teacher.batch(3, 4)
    depth = teacher.depth(q, probability)
    assert np.array_equal(np.isfinite(depth), probability > 0.5)
    distance = np.linalg.norm(spec.cameras[0].world_to_cam[:3, 3])
    assert (np.abs(depth[np.isfinite(depth)] - distance) < distance).all()


def test_poses_stay_near_a_trajectory_and_fill_the_limits_otherwise(config):
    spec, split = prepare(config)
    limits, rng = spec.limits, np.random.default_rng(0)
    along = limits.mean(axis=1) + np.linspace(-0.3, 0.3, 50)[:, None] * np.array([1.0, 1.0, -1.0, 0.5])
    path = replace(split.train, joint_pos=along, packed=split.train.packed[:50], meta={"excitation": "lorenz"})
    near, even = (Poses.of(data, limits).draw(4000, rng) for data in (path, split.train))
    for q in (near, even):
        assert (q >= limits[:, 0] - 1e-6).all()
        assert (q <= limits[:, 1] + 1e-6).all()
    distance = np.abs(near[:, None] - along).max(axis=2).min(axis=1)
    assert (distance < 0.1).mean() > 0.4
    assert np.ptp(even, axis=0) == pytest.approx(np.ptp(limits, axis=1), rel=0.01)


def test_a_pair_is_kept_and_the_decoder_gains_by_it(config):
    result = train(config)
    run = load_run(result.run.path)
    assert sorted(path.name for path in (run.path / BODY_FOLDER).iterdir()) == ["curves.png", METRICS, WEIGHTS]
    assert (run.self_model.name, run.body_model.name) == ("neurokin", "k3dgs")
    body = result.metrics["body"]
    assert body["teaches"]
    assert body["steps"] == 300
    assert body["psnr_db"] > result.metrics["psnr_db"]
    alone = train(replace(config, teacher=None, name="alone"))
    assert alone.run.body_model is None
    assert "body" not in alone.metrics
    assert result.metrics["psnr_db"] > alone.metrics["psnr_db"]
    other = train(replace(config, teacher="pair", name="taught"))
    assert other.metrics["body"]["psnr_db"] == body["psnr_db"]
    assert all(np.array_equal(a, b) for a, b in zip(weights(other.run).values(), weights(run).values(), strict=True))


@pytest.mark.parametrize("stage", ["body model", "training"])
def test_an_interrupted_pair_resumes_to_the_same_weights(config, stage):
    straight = train(replace(config, name="straight")).run

    def interrupt(at, share):
        if at == stage and share > 0.4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config, report=interrupt)
    assert latest_unfinished().name == "pair"
    run = resume(None).run
    assert run.path.name == "pair"
    assert all(np.array_equal(a, b) for a, b in zip(weights(run).values(), weights(straight).values(), strict=True))


def test_a_body_model_that_knows_nothing_does_not_teach(config):
    metrics = train(replace(config, steps=2)).metrics
    assert metrics["body"]["teaches"] is False


def test_what_cannot_teach_is_refused(config, small_robot):
    train(replace(config, teacher=None, steps=2, name="alone"))
    with pytest.raises(ConfigError, match="no body model"):
        train(replace(config, teacher="alone", name="b"))
    train(TrainConfig(robot="arm4", model="k3dgs", size="s", protocol="uniform", samples=20, test_samples=5, steps=2,
                      name="large"))
    with pytest.raises(ConfigError, match="another robot or camera"):
        train(replace(config, teacher="large", name="b"))
    with pytest.raises(ConfigError, match="cannot be distilled"):
        replace(config, model="k3dgs").validated()
    with pytest.raises(ConfigError, match="batch is 1"):
        replace(config, batch=1).validated()


def test_a_budget_is_shared_between_the_two():
    config = TrainConfig(teacher=BODY, learn="camera")
    body, decoder = config.with_budget(4).parts()
    assert (body.model, body.learn, decoder.learn, body.teacher) == ("k3dgs", "camera", None, None)
    assert body.budget_s + decoder.budget_s == config.with_budget(4).budget_s
    assert TrainConfig().parts() == (None, TrainConfig())
    assert replace(config, steps=50).parts()[0].steps == 50
    assert [fresh_of(n) for n in (2, 3, 16, 64)] == [1, 2, 14, 56]
