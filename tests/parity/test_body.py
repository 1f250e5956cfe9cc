"""The body model in C against its twin in torch: pictures, losses and every derivative; and out of a weight file."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.compile.weights import write_body
from edgekin.models.body import ELLIPSOID, Body, Loss, Optics
from edgekin.models.body_graph import BodyGraph
from edgekin.robot import load_robot
from edgekin.robot.cameras import camera, look_at
from edgekin.runtime.engine import Engine, supported_isas

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
N = 24
ISAS = [isa for isa in supported_isas() if isa in ("scalar", "avx2", "avx512")]


def robot(convention="center"):
    """arm4 seen by two cameras, in pictures whose width is no multiple of eight."""
    spec = load_robot("arm4")
    views = (camera(look_at((0.9, 0.1, 0.3), (0, 0, 0.2)), width=45, height=38),
             camera(look_at((0.2, 1.1, 0.5), (0, 0, 0.2)), width=45, height=38))
    return replace(spec, cameras=views, convention=convention)


def parameters(body, seed=0):
    """Ellipsoids large and small, one nearly opaque, one given up, one behind a camera; every correction is used."""
    rng = np.random.default_rng(seed)
    flat = rng.normal(scale=0.02, size=body.sections.total).astype(np.float32)
    e = flat[body.sections.ellipsoids].reshape(-1, ELLIPSOID)
    e[:, :3] = rng.normal(scale=0.05, size=(N, 3))
    e[:, 3:6] = np.log(0.03) + rng.normal(scale=0.6, size=(N, 3))
    e[:, 6:10], e[:, 10], e[:, 11] = rng.normal(size=(N, 4)), rng.normal(1.5, 0.7, N), rng.normal(2, 1, N)
    e[0, 11], e[1, 11], e[2, :3] = 40.0, -20.0, (2.0, 0.0, 0.0)
    flat[body.sections.background] = rng.normal(-4, 1, flat[body.sections.background].shape)
    return flat


def soft(body):
    """The same without the nearly opaque one: where no light is left, the twin's derivative ends, and C's goes on."""
    flat = parameters(body)
    flat[body.sections.ellipsoids][11 :: ELLIPSOID] = np.minimum(flat[body.sections.ellipsoids][11 :: ELLIPSOID], 2.0)
    return flat


def links(spec):
    return np.arange(N) % len(spec.links)


def twin(spec, optics, flat, q):
    """Logits (V, H, W) in double, and the leaves to differentiate by."""
    from edgekin.models import body_reference

    p = torch.tensor(flat, dtype=torch.float64, requires_grad=True)
    angles = torch.tensor(q[None], dtype=torch.float64, requires_grad=True)
    return body_reference.logits(spec, torch.as_tensor(links(spec)), optics, p, angles)[0], p, angles


@pytest.fixture(params=[(c, b) for c in ("center", "tinyrenderer") for b in (False, True)],
                ids=lambda p: f"{p[0]}{'-background' if p[1] else ''}")
def setting(request):
    return robot(request.param[0]), Optics(background=request.param[1])


@pytest.mark.parametrize("isa", ISAS)
def test_pictures_are_those_of_the_twin(setting, isa):
    spec, optics = setting
    body = Body(spec, links(spec), optics, isa)
    flat = parameters(body)
    body.set(flat)
    for q in np.random.default_rng(1).uniform(-1.5, 1.5, (4, 4)).astype(np.float32):
        body.run(q)
        expected, _, _ = twin(spec, optics, flat, q)
        # 1e-3 of log-odds: float32 light of two dozen factors.
        np.testing.assert_allclose(body.logits(), expected.detach().numpy(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("isa", ISAS)
def test_derivatives_are_those_of_autograd(setting, isa):
    spec, optics = setting
    body = Body(spec, links(spec), optics, isa)
    flat, rng = soft(body), np.random.default_rng(2)
    body.set(flat)
    q, weight = rng.uniform(-1.5, 1.5, 4).astype(np.float32), rng.normal(size=body.shape).astype(np.float32)
    body.run(q)
    body.pull(weight)
    dflat, dq = np.zeros_like(flat), np.zeros(4, np.float32)
    body.backward(dflat, dq)
    expected, p, angles = twin(spec, optics, flat, q)
    (expected * torch.tensor(weight)).sum().backward()
    # Float32 sums over thousands of pixels of either sign: 1e-4 of the largest derivative of the same kind.
    np.testing.assert_allclose(dq, angles.grad.numpy()[0], atol=1e-4 * float(angles.grad.abs().max()))
    for part in (body.sections.ellipsoids, body.sections.joints, body.sections.cameras, body.sections.background):
        want = p.grad.numpy()[part]
        if len(want):
            assert np.abs(want).max() > 0
            np.testing.assert_allclose(dflat[part], want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("isa", ISAS)
def test_losses_and_their_derivatives_are_those_of_torch(setting, isa):
    spec, optics = setting
    body = Body(spec, links(spec), optics, isa)
    flat, rng = soft(body), np.random.default_rng(3)
    q, mask = rng.uniform(-1.5, 1.5, 4).astype(np.float32), rng.random(body.shape) < 0.3
    loss = Loss(nll=0.7, squared=0.3, log_squared=20.0)
    body.set(flat)
    value, gradient = body.learn(q[None], np.packbits(mask, axis=-1)[None], loss)
    logits, p, _ = twin(spec, optics, flat, q)
    y = torch.tensor(mask, dtype=torch.float64)
    nll = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
    squared = (logits.sigmoid() - y).square().sum()
    total = loss.nll * nll + loss.squared * squared + loss.log_squared * squared.log1p()
    total.backward()
    assert value == pytest.approx(total.item(), rel=1e-5)
    # An empty pixel that is on pulls a thousand times harder than another: float32 sums keep 5e-4 of the largest.
    np.testing.assert_allclose(gradient, p.grad.numpy(), atol=5e-4 * float(p.grad.abs().max()))


@pytest.mark.skipif("avx2" not in ISAS, reason="this machine has no AVX2")
def test_every_instruction_set_gives_the_same_bits(setting):
    spec, optics = setting
    rng = np.random.default_rng(6)
    mask = np.packbits(rng.random((2, 38, 45)) < 0.3, axis=-1)
    graph = BodyGraph(spec, links(spec).astype(np.int32), optics, parameters(Body(spec, links(spec), optics)))
    bodies = [graph.open(isa) for isa in ISAS]
    engines = [Engine(write_body(graph), isa) for isa in ISAS]
    for q in rng.uniform(-1.5, 1.5, (4, 4)):
        found = []
        for body, engine in zip(bodies, engines, strict=True):
            body.run(q)
            engine.run(q)
            found.append((body.logits(), engine.score(mask), engine.blocks()))
        for other in found[1:]:
            assert np.array_equal(found[0][0], other[0])
            assert found[0][1] == other[1]
            assert np.array_equal(found[0][2], other[2])


@pytest.mark.parametrize("width", [45, 64, 150, 700])
def test_a_picture_leaves_nothing_behind_in_the_next(setting, width):
    spec, optics = setting
    spec = replace(spec, cameras=tuple(replace(view, width=width, fx=view.fx * width / 45) for view in spec.cameras))
    used, fresh = (Body(spec, links(spec), optics) for _ in range(2))
    for body in (used, fresh):
        body.set(parameters(body))
    for q in np.random.default_rng(4).uniform(-1.5, 1.5, (5, 4)):
        used.run(q)
    fresh.run(q)
    assert np.array_equal(used.logits(), fresh.logits())


@pytest.mark.parametrize("isa", ISAS)
def test_the_engine_runs_the_weight_file(setting, isa):
    spec, optics = setting
    body = Body(spec, links(spec), optics, isa)
    flat = parameters(body)
    body.set(flat)
    graph = BodyGraph(spec, links(spec).astype(np.int32), optics, flat)
    rng = np.random.default_rng(5)
    with Engine.open(write_body(graph), isa) as engine:
        assert (engine.info.n_joints, engine.shape) == (4, body.shape)
        for q in rng.uniform(-1.5, 1.5, (4, 4)):
            body.run(q)
            engine.run(q)
            assert np.array_equal(engine.logits(), body.logits())
            mask = rng.random(body.shape) < 0.2
            check_score(engine, mask)


def check_score(engine, mask):
    """The score of the engine's logits by numpy, in all and by blocks."""
    logit, y = engine.logits().astype(np.float64), mask.astype(np.float64)
    p, softplus = 1 / (1 + np.exp(-logit)), np.logaddexp(0, logit)
    found, blocks = engine.score(np.packbits(mask, axis=-1)), engine.blocks()
    expected = {"nll": (softplus - y * logit).sum(), "squared_err": ((p - y) ** 2).sum(),
                "entropy": (softplus - logit * p).sum()}
    for name, want in expected.items():
        assert getattr(found, name) == pytest.approx(want, rel=1e-4), name
        assert blocks[name].sum() == pytest.approx(want, rel=1e-4), name
    assert found.n_pixels == mask.size
    assert found.intersection == int(((logit > 0) & mask).sum()) == blocks["intersection"].sum()
    assert found.union == int(((logit > 0) | mask).sum())
    assert blocks["observed"].sum() == mask.sum()


def test_int8_parameters_change_little(setting):
    spec, optics = setting
    body = Body(spec, links(spec), optics)
    graph = BodyGraph(spec, links(spec).astype(np.int32), optics, parameters(body))
    whole, small = write_body(graph), write_body(graph, "int8")
    assert len(small) < len(whole)
    q = np.random.default_rng(6).uniform(-1.5, 1.5, (8, 4))
    a, b = (1 / (1 + np.exp(-Engine.open(blob).predict(q))) for blob in (whole, small))
    assert np.sqrt(np.mean((a - b) ** 2)) < 0.02


def test_int8_parameters_turn_no_slender_ellipsoid():
    spec, body = robot(), Body(robot(), links(robot()), Optics())
    flat = parameters(body)
    ellipsoids = flat[body.sections.ellipsoids].reshape(-1, ELLIPSOID)
    ellipsoids[:, 3:6], ellipsoids[:, 10:] = np.log((0.2, 0.01, 0.01)), 3.0
    graph = BodyGraph(spec, links(spec).astype(np.int32), Optics(), flat)
    q = np.random.default_rng(6).uniform(-1.5, 1.5, (8, 4))
    a, b = (1 / (1 + np.exp(-Engine.open(write_body(graph, encoding)).predict(q))) for encoding in ("fp32", "int8"))
    assert np.sqrt(np.mean((a - b) ** 2)) < 0.001  # with a quaternion in 8 bits 0.025
