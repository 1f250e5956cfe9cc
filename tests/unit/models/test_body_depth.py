"""Depth of a body model: the C fronts against every ray and ellipsoid in numpy, and learning it."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.models import PictureShape, build_model
from edgekin.models.body import Body
from edgekin.robot.kinematics import link_poses
from edgekin.sim.collect import uniform_dataset
from tests.small_arm import small_arm

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


@pytest.fixture(scope="module")
def robot():
    return small_arm(32, 30)


def fronts(spec, links, flat, q):
    """Nearest root of every ray with every ellipsoid, (H, W) m; +inf where it meets none."""
    from edgekin.models.body_reference import rotation

    camera, p = spec.cameras[0], flat[: 12 * len(links)].reshape(-1, 12).astype(np.float64)
    axes = rotation(torch.as_tensor(p[:, 6:10])).numpy()
    at = (0.0, 1.0) if spec.convention == "tinyrenderer" else (0.5, 0.5)
    y, x = np.mgrid[: camera.height, : camera.width]
    rays = np.stack([(x + at[0] - camera.cx) / camera.fx, (y + at[1] - camera.cy) / camera.fy, np.ones(x.shape)], -1)
    nearest = np.full(x.shape, np.inf)
    for link, row, turn in zip(links, p, axes, strict=True):
        pose = camera.world_to_cam @ link_poses(spec, q[None])[0, link]
        inverse = (pose[:3, :3] @ turn / np.exp(row[3:6])).T
        u, w = rays @ inverse.T, inverse @ (pose[:3, :3] @ row[:3] + pose[:3, 3])
        a, h, c = (u * u).sum(-1), u @ w, w @ w - 1
        met = h * h >= a * c
        nearest[met] = np.minimum(nearest, (h - np.sqrt(np.maximum(h * h - a * c, 0))) / a)[met]
    return nearest


def test_c_finds_the_nearest_front_of_every_ray(robot):
    model = build_model("k3dgs", "s", PictureShape.of(robot), 1, robot).module
    flat = model.flat().detach().numpy()
    body = Body(robot, model.links.numpy())
    body.set(flat)
    q = np.array([0.4, -0.7, 0.9, 0.2])
    body.run(q)
    found, wanted = body.depth()[0], fronts(robot, model.links.tolist(), flat, q)
    met = np.isfinite(wanted)
    assert 20 < met.sum() < met.size
    np.testing.assert_allclose(found[met], wanted[met], rtol=1e-4)
    rim = np.isfinite(found) & ~met
    assert rim.any(), "on the soft rim the nearest outline's ellipsoid counts"
    assert np.abs(found[rim] - np.median(found[met])).max() < 1.0


def test_what_silhouettes_leave_open_is_learned_from_depth(robot):
    from edgekin.training.loop import Split, Trainer
    from edgekin.training.settings import TrainConfig
    from edgekin.training.train import score_model

    split = Split(uniform_dataset(robot, 60, 0, depth=True), uniform_dataset(robot, 40, 1, depth=True))
    blind = Split(replace(split.train, depth=None), split.test)
    errors = []
    for data in (blind, split):
        model = build_model("k3dgs", "s", PictureShape.of(robot), 0, robot)
        Trainer(model, data, TrainConfig(model="k3dgs", steps=120)).run()
        errors.append(score_model(model, split.test)["depth_mae_m"])
    assert errors[1] < 0.7 * errors[0]
