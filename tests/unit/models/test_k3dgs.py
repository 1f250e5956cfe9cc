"""The body model as a torch module: its first guess, its growth, its file, and what it refuses."""


import numpy as np
import pytest

from edgekin.errors import ConfigError
from edgekin.models import PictureShape, build_model, default_learn, load_model, to_graph
from edgekin.models.body_graph import BodyGraph
from edgekin.models.registry import Batch, HasGraph, OwnTraining
from edgekin.robot.kinematics import link_poses
from tests.small_arm import small_arm

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


@pytest.fixture(scope="module")
def robot():
    return small_arm(32, 30)


def model_of(robot, learn=(), seed=0, size="s"):
    return build_model("k3dgs", size, PictureShape.of(robot), seed, robot, learn)


def test_the_registry_knows_how_it_is_trained_and_compiled(robot):
    model = model_of(robot)
    assert isinstance(model.module, OwnTraining)
    assert isinstance(model.module, HasGraph)
    decoder = build_model("neurokin", "s", PictureShape.of(robot))
    assert not isinstance(decoder.module, OwnTraining | HasGraph)
    graph = to_graph(model)
    assert isinstance(graph, BodyGraph)
    assert graph.count()[0] == model.parameters == 12 * 8 * 5  # size s: eight for the base and each of four links


def test_only_what_is_learned_is_a_parameter(robot):
    plain = model_of(robot).parameters
    assert model_of(robot, ("chain",)).parameters == plain + 6 * len(robot.joints)
    assert model_of(robot, ("camera",)).parameters == plain + 10
    assert model_of(robot, ("background",)).parameters == plain + 32 * 30


def test_the_isotropic_variant_has_balls_and_learns_their_radii(robot, tmp_path):
    model = model_of(robot, size="s-isotropic")
    with torch.no_grad():
        model.module.log_radius[:, 0] += 0.3
    graph = to_graph(model)
    radii = graph.parameters[: 12 * len(graph.links)].reshape(-1, 12)[:, 3:6]
    assert np.allclose(radii, radii[:, :1])
    assert np.allclose(radii, model.module.log_radius.detach().numpy().mean(axis=1, keepdims=True), atol=1e-6)
    loss = model.module(torch.zeros(1, model.shape.n_joints)).sum()
    loss.backward()
    gradient = model.module.log_radius.grad
    assert gradient.abs().sum() > 0
    assert torch.allclose(gradient, gradient[:, :1].expand(-1, 3))
    (tmp_path / "m.safetensors").write_bytes(model.to_bytes())
    assert np.array_equal(to_graph(load_model(tmp_path / "m.safetensors", robot)).parameters, graph.parameters)
    with pytest.raises(ConfigError, match="no size 'x-isotropic'"):
        model_of(robot, size="x-isotropic")


def test_twin_and_robot_agree_on_where_links_are(robot):
    from edgekin.models import body_reference

    q = np.random.default_rng(0).uniform(-1.5, 1.5, (5, 4))
    poses = body_reference.link_poses(robot, torch.zeros(6 * len(robot.joints), dtype=torch.float64), torch.tensor(q))
    np.testing.assert_allclose(poses.numpy(), link_poses(robot, q), atol=1e-12)


def test_logits_are_differentiable_in_joint_angles(robot):
    network = model_of(robot).module
    q = torch.full((2, 4), 0.3, requires_grad=True)
    pixels = torch.rand(1, 30, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def shown(angles):
        return (network(angles).double().sigmoid() * pixels).sum()

    shown(q).backward()
    found, step = q.grad.numpy().copy(), 1e-2
    with torch.no_grad():
        for joint in range(4):
            move = torch.zeros(4)
            move[joint] = step
            slope = (shown(q[:1] + move) - shown(q[:1] - move)) / (2 * step)
            assert found[0, joint] == pytest.approx(float(slope), rel=0.1, abs=0.1)
    assert all(p.grad is not None for p in network.parameters())


def test_a_given_up_ellipsoid_takes_half_of_the_one_pulled_hardest(robot):
    network = model_of(robot).module
    optimiser = torch.optim.Adam(network.parameter_groups(), lr=1e-3)
    batch = Batch(np.zeros(1, np.int64), torch.zeros(1, 4), np.zeros((1, 1, 30, 4), np.uint8), None,
                  np.random.default_rng(0))
    network.training_loss(batch, 0.0).backward()
    optimiser.step()
    with torch.no_grad():
        network.opacity[3] = -10.0
        network.travel.zero_()
        network.travel[20] = 5.0
    owner, before = int(network.links[20]), network.centre[20].clone()
    assert network.adapt(0.3, optimiser)
    assert int(network.links[3]) == owner
    torch.testing.assert_close((network.centre[3] + network.centre[20]) / 2, before)
    assert not torch.equal(network.centre[3], network.centre[20])
    assert float(optimiser.state[network.centre]["exp_avg"][[3, 20]].abs().max()) == 0.0
    assert not network.adapt(0.3, optimiser), "once at a time"
    assert not network.adapt(0.9, optimiser), "not towards the end"


def test_what_ends_invisible_is_dropped_and_the_file_gives_the_model_back(robot, tmp_path):
    model = model_of(robot, ("background", "chain"), seed=3)
    with torch.no_grad():
        model.module.opacity[:7] = -9.0
        model.module.chain.normal_(std=0.01)
    q = np.random.default_rng(1).uniform(-1, 1, (3, 4))
    before, count = model.probabilities(q), model.parameters
    model.module.finish()
    assert model.parameters == count - 7 * 12
    np.testing.assert_allclose(model.probabilities(q), before, atol=1e-3)
    path = tmp_path / "m.safetensors"
    path.write_bytes(model.to_bytes())
    again = load_model(path, robot)
    assert again.learn == ("background", "chain")
    assert np.array_equal(again.probabilities(q), model.probabilities(q))


def test_the_background_is_learned_where_the_pictures_have_one():
    picture = np.zeros((1, 10, 10), np.float32)
    assert default_learn("k3dgs", picture) == ()
    picture[:, 5:] = 1.0
    assert default_learn("k3dgs", picture) == ("background",)
    assert default_learn("neurokin", picture) == ()


def test_what_it_cannot_be_built_from_is_answered(robot, tmp_path):
    shape = PictureShape.of(robot)
    with pytest.raises(ConfigError, match="needs the robot"):
        build_model("k3dgs", "s", shape)
    with pytest.raises(ConfigError, match="cannot learn 'colour'"):
        build_model("k3dgs", "s", shape, robot=robot, learn=("colour",))
    with pytest.raises(ConfigError, match="cannot learn 'chain'"):
        build_model("neurokin", "s", shape, robot=robot, learn=("chain",))
    with pytest.raises(ConfigError, match="the robot"):
        build_model("k3dgs", "s", PictureShape(4, 1, 8, 8), robot=robot)
    path = tmp_path / "m.safetensors"
    path.write_bytes(model_of(robot).to_bytes())
    with pytest.raises(ConfigError, match="needs the robot"):
        load_model(path)


def test_a_learned_chain_keeps_the_size_that_one_camera_cannot_tell(robot):
    network = model_of(robot, ("chain",), seed=5).module
    with torch.no_grad():
        network.chain.normal_(std=0.02)
    q = torch.tensor(np.random.default_rng(2).uniform(-1, 1, (3, 4)), dtype=torch.float32)
    before, chain = network(q).sigmoid().detach().numpy(), network.chain.detach().clone()
    network.finish()
    np.testing.assert_allclose(network(q).sigmoid().detach().numpy(), before, atol=2e-3)
    assert float(network.chain.detach()[:, 3:].norm()) < float(chain[:, 3:].norm())
    assert torch.equal(network.chain[:, :3], chain[:, :3])
