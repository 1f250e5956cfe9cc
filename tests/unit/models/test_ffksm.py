"""The free-form model: its virtual frame, its rays, its twin renderers, its occupancy, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.errors import ConfigError
from edgekin.models import PictureShape, build_model, default_learn, load_model, to_graph
from edgekin.models.field_graph import FieldGraph, ray_table
from edgekin.models.reference import count
from edgekin.models.registry import Batch, HasGraph, HasOccupancy, OwnTraining
from edgekin.robot import load_robot
from edgekin.robot.kinematics import link_poses

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")

SIDE = 20  # px


def seen_by(spec, *cameras):
    scale = SIDE / cameras[0].width
    small = [replace(c, width=SIDE, height=SIDE, fx=c.fx * scale, fy=c.fy * scale, cx=c.cx * scale, cy=c.cy * scale)
             for c in cameras]
    return replace(spec, cameras=tuple(small))


@pytest.fixture(scope="module")
def robot():
    spec = load_robot("arm4")
    return seen_by(spec, *spec.cameras)


def model_of(robot, size="m", learn=(), seed=0):
    return build_model("ffksm", size, PictureShape.of(robot), seed, robot, learn)


def with_body(model, radius=0.08):
    """Teach a field in seconds what a real one learns in minutes: a ball at the tip of the upper arm, full inside."""
    network = model.module
    tip = torch.tensor([0.0, 0.0, 0.21])
    optimiser = torch.optim.Adam(network.parameters(), lr=6e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        q = torch.rand(8, 4, generator=generator) * 2 - 1
        pose = network.pose(q)
        ball = pose.frames[:, -1, :3, :3] @ tip + pose.frames[:, -1, :3, 3]
        reach = torch.where(torch.rand(8, 64, 1, generator=generator) < 0.5, 0.4, 1.4) * network.radius
        points = ball[:, None] + (torch.rand(8, 64, 3, generator=generator) * 2 - 1) * reach
        truth = ((points - ball[:, None]).norm(dim=-1) < radius).float()
        opacity = network.field.opacity(network.raw(pose, points), 1.0).clamp(1e-6, 1 - 1e-6)
        loss = torch.nn.functional.binary_cross_entropy(opacity, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    return model


@pytest.fixture(scope="module")
def taught(robot):
    return with_body(model_of(robot, "s"))


def test_the_registry_knows_how_it_is_trained_and_compiled(robot):
    model = model_of(robot)
    assert isinstance(model.module, OwnTraining | HasOccupancy)
    assert isinstance(model.module, HasGraph)
    graph = to_graph(model)
    assert isinstance(graph, FieldGraph)
    parameters, macs = count(graph)
    assert parameters == model.parameters == 85_858
    assert model_of(robot, "published").parameters == 77_410  # 83,810 of the authors, at 10 frequencies in place of 5
    assert macs == pytest.approx(64 * SIDE * SIDE * 49_600, rel=0.01)


def test_the_base_joints_are_the_virtual_frame(robot):
    network = model_of(robot).module
    assert [robot.links[link].name for link in network.frames.links] == ["base", "turret", "upper_arm"]
    assert network.turning == 2
    q = np.array([[0.4, -0.7, 0.2, 0.9]])
    poses = link_poses(robot, q)
    np.testing.assert_allclose(network.frames.poses(torch.tensor(q))[0].numpy(), poses[0, list(network.frames.links)],
                               atol=1e-12)


def test_a_point_that_moves_with_the_base_joints_stays_where_it_is_for_the_published_model(robot):
    network = model_of(robot, "published").module
    on_arm = np.array([0.02, -0.01, 0.1, 1.0])
    seen = []
    for q in ([0.0, 0.0, 0.3, -0.2], [1.1, -0.8, 0.3, -0.2]):
        point = link_poses(robot, [q])[0, 2] @ on_arm
        pose = network.pose(torch.tensor([q], dtype=torch.float32))
        seen.append(network.raw(pose, torch.tensor(point[None, None, :3], dtype=torch.float32)))
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-5)


def test_from_a_fork_on_joints_enter_the_network(robot):
    forked = replace(robot, joints=tuple(
        replace(j, parent=robot.joints[0].child) if j.name == "elbow" else j for j in robot.joints))
    network = model_of(forked).module
    assert network.turning == 1
    assert network.field.shape.joints == 3


@pytest.mark.parametrize("size", ["m", "published"])
def test_every_joint_moves_the_picture(robot, size):
    """Kinematic blindness: the published code once cut joints 3 and 4 off before the network."""
    model = model_of(robot, size)
    with torch.no_grad():
        model.module.field.out.bias[1] = 0.0
    q = np.array([[0.3, -0.4, 0.5, -0.6]])
    before = model.probabilities(q)
    for joint in range(4):
        moved = q.copy()
        moved[0, joint] += 0.3
        assert np.abs(model.probabilities(moved) - before).max() > 1e-4, f"joint {joint}"


def test_rays_meet_the_pixels_that_the_renderer_samples(robot):
    for convention, (du, dv) in {"center": (0.5, 0.5), "tinyrenderer": (0.0, 1.0)}.items():
        spec = replace(robot, convention=convention)
        origin, direction, _ = ray_table(spec)
        camera = spec.cameras[0]
        point = origin + 1.3 * direction
        x = point @ camera.world_to_cam[:3, :3].T + camera.world_to_cam[:3, 3]
        u = camera.fx * x[:, 0] / x[:, 2] + camera.cx
        v = camera.fy * x[:, 1] / x[:, 2] + camera.cy
        rows, columns = np.mgrid[0:SIDE, 0:SIDE]
        np.testing.assert_allclose(u, columns.ravel() + du, atol=1e-3)
        np.testing.assert_allclose(v, rows.ravel() + dv, atol=1e-3)


def test_skipping_empty_space_draws_what_the_plain_marcher_draws(taught):
    q = np.random.default_rng(0).uniform(-1, 1, (4, 4)).astype(np.float32)
    for pose in torch.from_numpy(q):
        with torch.no_grad():
            quick = taught.module.render(pose, accelerated=True).sigmoid()
            plain = taught.module.render(pose, accelerated=False).sigmoid()
        assert float(plain.max()) > 0.9, "there is something to see"
        assert float(plain.min()) < 0.01
        torch.testing.assert_close(quick, plain, rtol=0, atol=0.03)


def test_most_of_the_samples_are_skipped(taught):
    evaluated = []
    network, raw = taught.module, taught.module.raw
    network.raw = lambda pose, points: evaluated.append(points.shape[1]) or raw(pose, points)
    try:
        with torch.no_grad():
            network.render(torch.zeros(4), accelerated=False)
            plain, evaluated[:] = sum(evaluated), []
            network.pose(torch.zeros(1, 4))
            from edgekin.models import ffksm_march

            cells = ffksm_march.occupied_cells(network, torch.zeros(4))
            evaluated.clear()
            network.render(torch.zeros(4), accelerated=True)
    finally:
        del network.raw
    grid = int((network.cell_centres().norm(dim=-1) <= network.radius * (1 + 2 / ffksm_march.CELLS)).sum())
    assert 0 < int(cells.sum()) < 0.2 * cells.numel()
    assert sum(evaluated) - grid < 0.3 * plain


def test_occupancy_tells_the_body_from_free_space(robot, taught):
    q = np.array([0.6, -0.5, 0.2, 0.3])
    ball = link_poses(robot, [q])[0, 2] @ [0.0, 0.0, 0.21, 1.0]
    away = np.array([0.0, 0.0, 0.16])
    found = taught.occupancy(q, [ball[:3], ball[:3] + away, ball[:3] - away, [9.0, 9.0, 9.0]])
    assert found.shape == (4,)
    assert found[0] > 0.5
    assert found[1:].max() < 0.2
    assert found[3] == 0.0, "nothing was learned out there"
    assert taught.occupancy(q, np.zeros((0, 3))).shape == (0,)


def test_several_cameras_see_the_same_body():
    spec = load_robot("arm4")
    view = spec.cameras[0]
    side = np.array(view.world_to_cam)
    turn = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    robot = seen_by(spec, view, replace(view, world_to_cam=side @ turn))
    model = model_of(robot, "s")
    with torch.no_grad():
        model.module.field.out.bias[1] = 0.0
    pictures = model.probabilities(np.zeros((1, 4)))
    assert pictures.shape == (1, 2, SIDE, SIDE)
    alone = build_model("ffksm", "s", PictureShape.of(replace(robot, cameras=robot.cameras[1:])), 0,
                        replace(robot, cameras=robot.cameras[1:]))
    alone.module.load_state_dict(model.module.state_dict())
    np.testing.assert_allclose(alone.probabilities(np.zeros((1, 4)))[:, 0], pictures[:, 1], atol=1e-5)


def test_the_background_is_learned_where_the_pictures_have_one(robot):
    picture = np.zeros((1, 10, 10), np.float32)
    assert default_learn("ffksm", picture) == ()
    picture[:, 5:] = 1.0
    assert default_learn("ffksm", picture) == ("background",)
    model = model_of(robot, learn=("background",))
    with torch.no_grad():
        model.module.background.fill_(-8.0)
        model.module.background[: SIDE * SIDE // 2] = 5.0
    picture = model.probabilities(np.zeros((1, 4)))[0, 0]
    assert picture[: SIDE // 2].min() > 0.9
    assert picture[SIDE // 2 :].max() < 0.5


def test_the_static_layer_is_carved_by_what_is_off_in_any_picture(robot):
    network = model_of(robot, "s", ("background",)).module.train()
    masks = np.zeros((3, 1, SIDE, SIDE), np.uint8)
    masks[:, :, SIDE // 2 :] = 1
    masks[1, :, -1] = 0
    masks[0, :, 2, 3] = 1
    batch = Batch(np.arange(3), torch.zeros(3, 4), np.packbits(masks, axis=-1), None, np.random.default_rng(0))
    network.training_loss(batch, 0.0).backward()
    static = (network.background.detach() > 0).reshape(SIDE, SIDE)
    assert static[SIDE // 2 : -1].all()
    assert not static[: SIDE // 2].any()
    assert not static[-1].any()
    assert network.background.grad is not None


def test_the_file_gives_the_model_back(robot, tmp_path):
    model = model_of(robot, "s", ("background",), seed=3)
    path = tmp_path / "m.safetensors"
    path.write_bytes(model.to_bytes())
    again = load_model(path, robot)
    q = np.random.default_rng(1).uniform(-1, 1, (2, 4))
    assert np.array_equal(again.probabilities(q), model.probabilities(q))


def test_what_it_cannot_be_asked_is_answered(robot, taught):
    shape = PictureShape.of(robot)
    with pytest.raises(ConfigError, match="needs the robot"):
        build_model("ffksm", "s", shape)
    with pytest.raises(ConfigError, match="cannot learn 'chain'"):
        build_model("ffksm", "s", shape, robot=robot, learn=("chain",))
    with pytest.raises(ConfigError, match="no size 'xl'"):
        model_of(robot, "xl")
    with pytest.raises(ConfigError, match=r"neurokin has no occupancy in 3D"):
        build_model("neurokin", "s", shape).occupancy(np.zeros(4), np.zeros((1, 3)))
    with pytest.raises(ConfigError, match=r"joints \(3,\) and points \(1, 3\)"):
        taught.occupancy(np.zeros(3), np.zeros((1, 3)))
