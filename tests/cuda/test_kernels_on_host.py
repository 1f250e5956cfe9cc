"""The CUDA kernels, compiled as C++ and run thread by thread, against the scalar engine: the same bits in INT8."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekin.compile.weights import write_body, write_weights
from edgekin.models.body import ELLIPSOID, Body, Optics
from edgekin.models.body_graph import BodyGraph
from edgekin.models.graph import Graph
from edgekin.models.reference import forward
from edgekin.quantization.qgraph import forward_int8, quantize_graph
from tests.parity.graphs import calibrated, decoder, enlarged
from tests.parity.test_body import robot
from tests.parity.test_engine import FP32_TOLERANCE, _check_score, graphs

pytest.importorskip("edgekin._ek", reason="build it: python setup.py build_ext --inplace")
from edgekin.runtime.cuda import CudaEngine, CudaOptions
from edgekin.runtime.engine import Engine

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
#: The driver on this processor does not read the kernels that it is given.
CUBIN = b"\x7fELF"
#: Maps and weights of 11 bits, of networks up to eight layers deep: relative to the largest logit.
FP16_TOLERANCE = 2e-2
#: Grids that leave some threads without work, and some with many items.
GRIDS = [(1, 32), (2, 64), (3, 96)]


def gpu(driver, blob: bytes, precision: str, **options) -> CudaEngine:
    return CudaEngine(blob, CUBIN, precision, CudaOptions(library=driver.path, **options))


def masks_for(graph: Graph, seed: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.random.default_rng(seed).random((graph.n_views, graph.height, graph.width)) < 0.4
    return mask, np.packbits(mask, axis=-1)


@given(graphs(), st.sampled_from(GRIDS))
@PROPERTY
def test_int8_gives_the_bits_of_the_scalar_engine_and_its_scores(host_driver, case, grid):
    graph, seed = case
    q = np.random.default_rng(seed).uniform(-3, 3, (3, graph.n_joints)).astype(np.float32)
    quant = quantize_graph(graph, calibrated(graph, q))
    blob, (_, packed) = write_weights(quant), masks_for(graph, seed)
    with Engine(blob, "scalar") as expected, gpu(host_driver, blob, "int8", blocks=grid[0], threads=grid[1]) as engine:
        for joints, logits in zip(q, forward_int8(quant, q), strict=True):
            expected.run(joints)
            engine.run(joints)
            assert engine.score(packed) == expected.score(packed)
            assert np.array_equal(engine.logits_int8()[0], logits)
            assert np.array_equal(engine.blocks(), expected.blocks())


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 20), st.integers(0, 1))
@PROPERTY
def test_convolutions_of_enlarged_maps_give_the_bits_of_the_reference(host_driver, seed, c, out, relu):
    rng = np.random.default_rng(seed)
    graph = enlarged(rng, c, out, relu)
    q = rng.uniform(-3, 3, (2, 2)).astype(np.float32)
    quant = quantize_graph(graph, calibrated(graph, q))
    with gpu(host_driver, write_weights(quant), "int8", blocks=2, threads=64) as engine:
        for joints, logits in zip(q, forward_int8(quant, q), strict=True):
            engine.run(joints)
            assert np.array_equal(engine.logits_int8()[0], logits)
    check_floats(host_driver, graph, q)


@given(graphs())
@PROPERTY
def test_floats_agree_with_the_numpy_reference(host_driver, case):
    graph, seed = case
    check_floats(host_driver, graph, np.random.default_rng(seed).uniform(-3, 3, (2, graph.n_joints)).astype(np.float32))


def check_floats(driver, graph: Graph, q: np.ndarray) -> None:
    """FP32 and FP16 within their rounding, and their scores those of their own logits."""
    expected, blob, (mask, packed) = forward(graph, q), write_weights(graph), masks_for(graph, 0)
    for precision, tolerance in (("fp32", FP32_TOLERANCE), ("fp16", FP16_TOLERANCE)):
        with gpu(driver, blob, precision, blocks=2, threads=64) as engine:
            assert np.abs(engine.predict(q) - expected).max() <= tolerance * max(1.0, np.abs(expected).max())
            _check_score(engine, mask, packed)


@pytest.mark.parametrize("precision", ["int8", "fp32", "fp16"])
def test_the_order_of_the_threads_does_not_matter(host_driver, precision):
    graph = decoder(np.random.default_rng(2))
    q = np.random.default_rng(3).uniform(-2, 2, (4, 3)).astype(np.float32)
    blob = write_weights(quantize_graph(graph, calibrated(graph, q)) if precision == "int8" else graph)
    packed, seen = masks_for(graph, 4)[1], []
    for order in (0, 1, 2, 3, 4):
        host_driver.order(order)
        with gpu(host_driver, blob, precision, blocks=3, threads=64) as engine:
            for joints in q:
                engine.run(joints)
                seen.append((engine.score(packed), engine.logits().tobytes()))
    assert all(one == seen[i % len(q)] for i, one in enumerate(seen))


@pytest.mark.parametrize("cooperative", [True, False])
@pytest.mark.parametrize("graph_replay", [True, False])
@pytest.mark.parametrize("io", ["mapped", "copy", "managed"])
def test_every_way_to_launch_gives_the_same_bits(host_driver, cooperative, graph_replay, io):
    graph = decoder(np.random.default_rng(5))
    q = np.random.default_rng(6).uniform(-2, 2, (3, 3)).astype(np.float32)
    blob, packed = write_weights(quantize_graph(graph, calibrated(graph, q))), masks_for(graph, 7)[1]
    with Engine(blob, "scalar") as expected, gpu(host_driver, blob, "int8", io=io, graph=graph_replay, blocks=2,
                                                 cooperative=cooperative, threads=64) as engine:
        assert (engine.cuda.graph, engine.cuda.cooperative, engine.cuda.io) == (graph_replay, cooperative, io)
        assert (engine.cuda.n_launches == 1) == cooperative
        for joints in q:
            expected.run(joints)
            engine.run(joints)
            assert engine.score(packed) == expected.score(packed)


#: Body models differ by the order in which blocks are summed and by pixels at the very end of an outline.
BODY_LOGIT_TOLERANCE, BODY_SCORE_TOLERANCE = 1e-3, 1e-5


def body_graph(n: int, optics: Optics, convention: str) -> BodyGraph:
    """Ellipsoids large and small, one nearly opaque, one given up, one behind a camera; every correction is used."""
    spec, rng = robot(convention), np.random.default_rng(n)
    links = (np.arange(n) % len(spec.links)).astype(np.int32)
    where = Body(spec, links, optics).sections
    flat = rng.normal(scale=0.02, size=where.total).astype(np.float32)
    e = flat[where.ellipsoids].reshape(-1, ELLIPSOID)
    e[:, :3] = rng.normal(scale=0.05, size=(n, 3))
    e[:, 3:6] = np.log(0.1 / n**0.5) + rng.normal(scale=0.6, size=(n, 3))
    e[:, 6:10], e[:, 10], e[:, 11] = rng.normal(size=(n, 4)), rng.normal(1.5, 0.7, n), rng.normal(2, 1, n)
    e[0, 11], e[1, 11], e[2, :3] = 40.0, -20.0, (2.0, 0.0, 0.0)
    flat[where.background] = rng.normal(-4, 1, flat[where.background].shape)
    return BodyGraph(spec, links, optics, flat)


@pytest.mark.parametrize("cooperative", [True, False])
@pytest.mark.parametrize("convention", ["center", "tinyrenderer"])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("n", [7, 60, 500])
def test_body_models_agree_with_the_cpu(host_driver, n, background, convention, cooperative):
    blob = write_body(body_graph(n, Optics(background=background), convention))
    with Engine(blob, "scalar") as expected, gpu(host_driver, blob, "fp32", blocks=2, threads=64,
                                                 cooperative=cooperative) as engine:
        assert engine.cuda.n_launches == (2 if n == 500 and not cooperative else 1)
        packed = np.packbits(np.random.default_rng(1).random(engine.shape) < 0.3, axis=-1)
        for joints in np.random.default_rng(2).uniform(-1, 1, (3, engine.info.n_joints)).astype(np.float32):
            expected.run(joints)
            engine.run(joints)
            want, got = expected.score(packed), engine.score(packed)
            assert np.abs(engine.logits() - expected.logits()).max() <= BODY_LOGIT_TOLERANCE
            assert (got.nll, got.squared_err, got.entropy) == pytest.approx(
                (want.nll, want.squared_err, want.entropy), rel=BODY_SCORE_TOLERANCE)
            assert (got.intersection, got.union) == (want.intersection, want.union)
