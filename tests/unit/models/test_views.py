"""Many cameras: where they stand, what networks are told of them, and models of one body from all of them."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.errors import ConfigError, DataError
from edgekin.models import PictureShape, build_model
from edgekin.models.reference import forward
from edgekin.robot import load_robot, save_robot
from edgekin.robot.views import CODE, camera_code, camera_of, cameras_around
from edgekin.sim.collect import CollectOptions, collect, views_dataset
from edgekin.sim.dataset import load_dataset, save_dataset
from edgekin.sim.views import from_own_camera, seen_from
from edgekin.training.settings import TrainConfig
from tests.small_arm import small_arm

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


@pytest.fixture(scope="module")
def robot():
    return small_arm(24, 24)


def eye(camera):
    return -camera.world_to_cam[:3, :3].T @ camera.world_to_cam[:3, 3]


def test_a_camera_is_its_code(robot):
    for camera in cameras_around(robot, 5, 120):
        again = camera_of(camera_code(camera), robot.cameras[0])
        np.testing.assert_allclose(again.world_to_cam, camera.world_to_cam, atol=1e-12)
        np.testing.assert_allclose([again.fx, again.fy, again.cx, again.cy],
                                   [camera.fx, camera.fy, camera.cx, camera.cy])


def test_cameras_stand_around_what_the_robots_own_looks_at(robot):
    cameras, later = cameras_around(robot, 12, 90), cameras_around(robot, 4, 90, first=12)
    own = robot.cameras[0]
    axes = np.array([camera.world_to_cam[2, :3] for camera in (*cameras, *later)])
    eyes = np.array([eye(camera) for camera in (*cameras, *later)])
    # All optical axes meet in one point, equally far from all eyes.
    projectors = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    centre = np.linalg.solve(projectors.sum(axis=0), np.einsum("nij,nj->i", projectors, eyes))
    distances = np.linalg.norm(eyes - centre, axis=1)
    np.testing.assert_allclose(distances, np.linalg.norm(eye(own) - centre), rtol=1e-6)
    angles = np.degrees(np.arccos(np.clip(axes @ own.world_to_cam[2, :3], -1, 1)))
    assert 30 < angles.max() < 60
    assert (eyes[:, 2] > eye(own)[2] - 1e-9).all()
    apart = np.linalg.norm(eyes[:, None] - eyes[None], axis=2) + np.eye(16)
    assert apart.min() > 0.05 * distances[0]


def test_a_conditioned_decoder_compiles_for_the_robots_own_camera(robot):
    shape = replace(PictureShape.of(robot), n_camera=CODE)
    model = build_model("neurokin", "s", shape, 0, robot)
    q = np.random.default_rng(0).uniform(-1, 1, (3, 4))
    code = np.broadcast_to(camera_code(robot.cameras[0]), (3, CODE))
    with torch.no_grad():
        expected = model.module(torch.as_tensor(np.concatenate([q, code], axis=1), dtype=torch.float32)).numpy()
        other = model.module(torch.as_tensor(np.concatenate([q, code * 0.9], axis=1), dtype=torch.float32)).numpy()
    np.testing.assert_allclose(forward(model.graph(), q), expected, atol=1e-5)
    assert not np.allclose(other, expected)


def test_a_body_is_seen_from_the_camera_of_each_sample(robot):
    shape = replace(PictureShape.of(robot), n_camera=CODE)
    many, plain = (build_model("k3dgs", "s", s, 3, robot) for s in (shape, PictureShape.of(robot)))
    cameras = (robot.cameras[0], *cameras_around(robot, 2, 90))
    q = np.random.default_rng(0).uniform(-1, 1, (6, 4))
    view = np.array([0, 2, 1, 0, 1, 2])
    found = many.probabilities(np.concatenate([q, np.stack([camera_code(c) for c in cameras])[view]], axis=1))
    for number, camera in enumerate(cameras):
        alone = build_model("k3dgs", "s", PictureShape.of(robot), 3, replace(robot, cameras=(camera,)))
        np.testing.assert_allclose(found[view == number], alone.probabilities(q[view == number]), atol=2e-3)
    assert many.graph().count() == plain.graph().count()


@pytest.mark.parametrize("model", ["neurokin", "k3dgs"])
def test_it_is_trained_on_some_cameras_and_scored_on_others(model, robot, tmp_path, monkeypatch):
    from edgekin.compile.evaluate import evaluate
    from edgekin.compile.pipeline import CompileConfig, _Compiler
    from edgekin.training.train import train

    monkeypatch.setenv("EDGEKIN_RUNS", str(tmp_path / "runs"))
    save_robot(robot, tmp_path)
    result = train(TrainConfig(robot=str(tmp_path), model=model, size="s", protocol="views", cameras=3, samples=60,
                               test_samples=30, steps=25, name="v"))
    run = result.run
    assert len(run.train.cameras) == 3
    known = {camera_code(c).tobytes() for c in run.train.cameras}
    assert known.isdisjoint(camera_code(c).tobytes() for c in run.test.cameras)
    assert result.metrics["psnr_db"] > result.metrics["floors"]["all_black"]["psnr_db"] - 3
    again = evaluate(run.path)
    assert again.score.psnr_db == pytest.approx(result.metrics["psnr_db"], abs=1e-3)
    compiler = _Compiler(run, CompileConfig(precision="fp32", max_psnr_loss_db=0.01), lambda stage, share: None)
    compiler.prepare()
    assert compiler.test.view is None, "a bundle is for the robot's own camera"
    assert compiler.fp32()[1].psnr_loss_db < 0.01


def test_a_file_keeps_the_cameras(robot, tmp_path):
    data = views_dataset(robot, cameras_around(robot, 3, 60), 20, 0)
    save_dataset(data, tmp_path / "d.npz")
    again = load_dataset(tmp_path / "d.npz")
    np.testing.assert_array_equal(again.inputs, data.inputs)
    np.testing.assert_array_equal(seen_from(robot, again.cameras, again.joint_pos, again.view), again.packed)
    assert from_own_camera(robot, again).inputs.shape == (20, 4)
    with pytest.raises(DataError, match="one of its 3 cameras"):
        save_dataset(replace(data, view=data.view + 1), tmp_path / "e.npz")


def test_collected_samples_share_the_cameras_out(robot):
    pytest.importorskip("pybullet", reason="needs pybullet: pip install 'edgekin[train]'")
    data = collect(CollectOptions(robot, samples=12, workers=1, cameras=4))
    assert np.bincount(data.view).tolist() == [3, 3, 3, 3]
    np.testing.assert_array_equal(seen_from(robot, data.cameras, data.joint_pos, data.view), data.packed)


@pytest.mark.parametrize(("values", "match"), [
    ({"model": "resneurokin-d"}, "silhouettes alone, no depth"), ({"size": "published"}, "joint angles alone"),
    ({"model": "k3dgs", "learn": "background"}, "cannot be learned from many cameras"),
    ({"protocol": "uniform"}, "has the robot's own cameras, not 3"),
])
def test_what_does_not_go_with_many_cameras_is_one_clear_line(values, match, robot, tmp_path, monkeypatch):
    from edgekin.training.train import train

    monkeypatch.setenv("EDGEKIN_RUNS", str(tmp_path / "runs"))
    save_robot(robot, tmp_path)
    config = {"robot": str(tmp_path), "protocol": "views", "cameras": 3, "samples": 20, "test_samples": 5, "steps": 1}
    with pytest.raises(ConfigError, match=match):
        train(TrainConfig(**{**config, **values}).validated())


def test_a_dataset_of_one_camera_does_not_pass_for_several(robot, tmp_path):
    from edgekin.sim.collect import uniform_dataset
    from edgekin.training.protocols import prepare

    save_robot(robot, tmp_path)
    spec = load_robot(str(tmp_path))
    save_dataset(uniform_dataset(spec, 20, 0), tmp_path / "own.npz")
    save_dataset(views_dataset(spec, spec.cameras, 20, 0), tmp_path / "single.npz")
    config = TrainConfig(robot=str(tmp_path), data=str(tmp_path / "own.npz"), cameras=4)
    with pytest.raises(DataError, match=r"pictures of 1 camera\(s\), 4 are needed"):
        prepare(config)
    with pytest.raises(DataError, match="1 camera, of which none can be held out"):
        prepare(replace(config, data=str(tmp_path / "single.npz"), cameras=None))
