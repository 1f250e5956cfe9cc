"""Body models that also learn from cameras about the robot's own, with links taken off: shapes instead of pixels."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.models import PictureShape, build_model
from edgekin.models.body import Body, Loss
from edgekin.robot import parse_events
from edgekin.robot.damage import apply_damage
from edgekin.robot.views import MOVED_DEG, cameras_about
from edgekin.sim.about import PLACES, pictures_about
from edgekin.sim.renderer import Renderer
from tests.small_arm import small_arm

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


@pytest.fixture(scope="module")
def robot():
    robot = small_arm(24, 24)
    return replace(robot, cameras=(robot.cameras[0], replace(robot.cameras[0], fx=1.2 * robot.cameras[0].fx)))


def test_cameras_stand_about_the_robots_own_and_together(robot):
    places = cameras_about(robot, 20, 0)
    assert len(places) == 20
    own = robot.cameras[0]
    apart = []
    for first, second in places:
        turn = first.world_to_cam[:3, :3] @ own.world_to_cam[:3, :3].T
        apart.append(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert (first.fx, second.fx) == (own.fx, 1.2 * own.fx)
        eyes = [-camera.world_to_cam[:3, :3].T @ camera.world_to_cam[:3, 3] for camera in (first, second)]
        np.testing.assert_allclose(*eyes, atol=1e-9)  # they stood in one place, and were moved together
    assert 5 < np.mean(apart) < 2 * MOVED_DEG
    assert cameras_about(robot, 20, 1)[0][0].world_to_cam[0, 0] != places[0][0].world_to_cam[0, 0]


def test_pictures_are_those_of_the_cameras(robot):
    pictures = pictures_about(robot, 100, 0)
    assert pictures.joint_pos.shape == (PLACES, 3, 4)
    assert (pictures.joint_pos >= robot.limits[:, 0]).all()
    assert (pictures.joint_pos <= robot.limits[:, 1]).all()
    children = [joint.child for joint in robot.actuated]
    assert pictures.lost[:9] == (children[0], 0, 0, children[1], 0, 0, children[2], 0, 0)
    for place in (1, 3):
        there = robot if place == 1 else apply_damage(robot, parse_events("lost:2")[0])
        with Renderer(replace(there, cameras=pictures.cameras[place])) as renderer:
            np.testing.assert_array_equal(pictures.packed[place], renderer.masks(pictures.joint_pos[place]))
    place, q, packed = pictures.draw(5, np.random.default_rng(0))
    rows = [np.flatnonzero((pictures.joint_pos[place] == one).all(axis=1))[0] for one in q]
    np.testing.assert_array_equal(packed, pictures.packed[place][rows])


def test_what_is_lost_is_not_drawn_and_not_learned(robot):
    parts = [joint.child for joint in robot.actuated]
    body = Body(robot, parts)
    flat = np.random.default_rng(0).normal(scale=0.05, size=body.sections.total).astype(np.float32)
    rows = flat[body.sections.ellipsoids].reshape(len(parts), -1)
    rows[:, 3:6], rows[:, 6], rows[:, 10:] = np.log(0.05), 1.0, 2.0
    body.set(flat)
    q, packed = np.full((1, 4), 0.3, np.float32), np.zeros((1, *body.mask_shape), np.uint8)
    whole, _ = body.learn(q, packed, Loss())
    body.lose(parts[2])
    loss, gradient = body.learn(q, packed, Loss())
    pulls = np.abs(gradient[body.sections.ellipsoids].reshape(len(parts), -1)).max(axis=1)
    assert loss < whole  # less of it is where there should be nothing
    assert (pulls[:2] > 0).all()
    assert (pulls[2:] == 0).all()
    body.lose(0)
    assert body.learn(q, packed, Loss())[0] == whole


@pytest.mark.parametrize("joint", [0, 2])
def test_torch_draws_what_is_left_as_the_library_does(robot, joint):
    module = build_model("k3dgs", "s", PictureShape.of(robot), 0, robot).module
    q, lost = np.random.default_rng(1).uniform(*robot.limits.T, (3, 4)).astype(np.float32), robot.actuated[joint].child
    with torch.no_grad():
        whole = module(torch.from_numpy(q)).numpy()
        module.body().lose(lost)
        drawn = module(torch.from_numpy(q)).numpy()
        twin = module._without(lost, module.flat(), torch.from_numpy(q), robot).numpy()
    assert np.abs(drawn - whole).max() > 1.0
    np.testing.assert_allclose(twin, drawn, atol=0.02)


def test_a_default_training_learns_shapes_that_a_knocked_camera_sees(tmp_path, monkeypatch):
    from edgekin.training.settings import TrainConfig
    from edgekin.training.train import train

    monkeypatch.setenv("EDGEKIN_RUNS", str(tmp_path))
    found = {}
    for protocol in (None, "uniform"):
        config = TrainConfig(model="k3dgs", size="s", protocol=protocol, samples=600, test_samples=50, steps=1500,
                             name=f"{protocol}").validated()
        run = train(config).run
        elsewhere = pictures_about(run.robot, 96, 5)
        module = run.self_model.module.eval()
        right = []
        for place, cameras in enumerate(elsewhere.cameras):
            moved = type(module)(replace(run.robot, cameras=cameras), module.links.tolist(), ())
            moved.load_state_dict(module.state_dict())
            moved.body().lose(elsewhere.lost[place])
            logits = moved(torch.from_numpy(elsewhere.joint_pos[place].astype(np.float32))).detach().numpy()
            truth = np.unpackbits(elsewhere.packed[place], axis=-1, count=cameras[0].width).astype(bool)
            right.append(np.mean((logits > 0) == truth))
        found[protocol] = 1 - np.mean(right)
    assert found[None] < 0.8 * found["uniform"]
