"""The C engines against the numpy references: INT8 bit for bit, FP32 within rounding, on networks of random shape."""

from __future__ import annotations

import struct
import zlib
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edgekin.compile.weights import write_weights
from edgekin.errors import RuntimeFault
from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import count, forward, shapes
from edgekin.quantization.qgraph import QuantGraph, forward_int8, quantize_graph, upconv
from tests.parity.graphs import calibrated, decoder, enlarged, weighted

pytest.importorskip("edgekin._ek", reason="build it: python setup.py build_ext --inplace")
from edgekin.runtime.engine import BLOCK, Engine, supported_isas

#: float32 sums of at most a few thousand terms of order 1 in another order, with and without fused multiply-adds.
FP32_TOLERANCE = 5e-5
#: The vector softplus and sigmoid of FP32 scoring: relative to the sum over the picture.
SCORE_TOLERANCE = 2e-6

ISAS = supported_isas()
PROPERTY = settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, int]:
    """A decoder of random layers, and a seed for its joint angles."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    joints = draw(st.integers(1, 6))
    first = draw(st.sampled_from(["sincos", "joints"]))
    width = joints * (2 if first == "sincos" else 1)
    layers = [Layer(first, "in")]
    for i in range(draw(st.integers(0, 2))):
        out = draw(st.integers(1, 40))
        layers.append(weighted(rng, "linear", f"linear{i}", (out, width), relu=draw(st.integers(0, 1))))
        width = out
    c, h, w = draw(st.integers(1, 13)), draw(st.integers(1, 6)), draw(st.integers(1, 6))
    layers.append(weighted(rng, "linear", "seam", (c * h * w, width), relu=draw(st.integers(0, 1))))
    layers.append(Layer("reshape", "reshape", {"channels": c, "height": h, "width": w}))
    for i in range(draw(st.integers(0, 4))):
        layer, (c, h, w) = draw(spatial(rng, i, c, h, w))
        layers.append(layer)
    if c > 4:
        head = draw(st.integers(1, 4))
        layers.append(weighted(rng, "conv", "head", (head, c, 1, 1), pad=0, relu=0))
        c = head
    return Graph(joints, c, h, w, tuple(layers)), seed


@st.composite
def spatial(draw: st.DrawFn, rng: np.random.Generator, i: int, c: int, h: int, w: int):
    """A random layer that takes (c, h, w), and the shape it yields."""
    kinds = ["conv", "convt", "resize", "crop", "reshape", "linear"] + (["pixel_shuffle"] if c % 4 == 0 else [])
    kind = draw(st.sampled_from(kinds))
    out, relu, k = draw(st.integers(1, 20)), draw(st.integers(0, 1)), draw(st.integers(1, 5))
    if kind == "conv":
        pad = draw(st.integers(max(0, (k - min(h, w) + 1) // 2), k))
        layer = weighted(rng, "conv", f"conv{i}", (out, c, k, k), pad=pad, relu=relu)
        return layer, (out, h + 2 * pad - k + 1, w + 2 * pad - k + 1)
    if kind == "convt":
        stride = draw(st.integers(1, 3))
        pad = draw(st.integers(0, min(k, max(0, ((min(h, w) - 1) * stride + k - 1) // 2))))
        layer = weighted(rng, "convt", f"convt{i}", (c, out, k, k), stride=stride, pad=pad, relu=relu)
        return layer, (out, (h - 1) * stride - 2 * pad + k, (w - 1) * stride - 2 * pad + k)
    if kind == "resize":
        h, w = draw(st.integers(1, 20)), draw(st.integers(1, 20))
        return Layer("resize", f"resize{i}", {"height": h, "width": w}), (c, h, w)
    if kind == "crop":
        h, w = draw(st.integers(1, h)), draw(st.integers(1, w))
        return Layer("crop", f"crop{i}", {"height": h, "width": w}), (c, h, w)
    if kind == "linear":
        return weighted(rng, "linear", f"linear_s{i}", (out, c * h * w), relu=relu), (out, 1, 1)
    if kind == "reshape":
        return Layer("reshape", f"reshape{i}", {"channels": w, "height": c, "width": h}), (w, c, h)
    return Layer("pixel_shuffle", f"shuffle{i}", {"factor": 2}), (c // 4, 2 * h, 2 * w)


@given(graphs())
@PROPERTY
def test_int8_engines_give_the_bits_of_the_numpy_reference(case: tuple[Graph, int]):
    graph, seed = case
    q = np.random.default_rng(seed).uniform(-3, 3, (6, graph.n_joints)).astype(np.float32)
    quant = quantize_graph(graph, calibrated(graph, q))
    expected = forward_int8(quant, q)
    for isa in ISAS:
        with Engine(write_weights(quant), isa) as engine:
            for joints, logits in zip(q, expected, strict=True):
                engine.run(joints)
                got, scale = engine.logits_int8()
                assert np.array_equal(got, logits), isa
                assert scale == np.float32(quant.out_scale)
                assert np.array_equal(engine.logits(), got * np.float32(scale))


@given(st.integers(0, 2**32 - 1), st.integers(1, 16), st.integers(1, 20), st.integers(0, 2), st.floats(-2.5, 0.5))
@PROPERTY
def test_sparse_convolutions_give_the_bits_of_the_numpy_reference(seed: int, c: int, out: int, pad: int, bias: float):
    rng = np.random.default_rng(seed)
    h, w = rng.integers(3, 9, 2).tolist()
    layers = [Layer("sincos", "in"), weighted(rng, "linear", "seam", (c * h * w, 4), relu=1),
              Layer("reshape", "reshape", {"channels": c, "height": h, "width": w}),
              weighted(rng, "conv", "conv", (out, c, 3, 3), pad=pad, relu=1),
              weighted(rng, "conv", "head", (1, out, 1, 1), pad=0, relu=0)]
    layers[1].bias[:] += bias  # the share of zeros, by which the engine chooses its kernel: from few to nearly all
    graph = Graph(2, 1, h + 2 * pad - 2, w + 2 * pad - 2, tuple(layers))
    q = rng.uniform(-3, 3, (3, 2)).astype(np.float32)
    quant = quantize_graph(graph, calibrated(graph, q))
    for isa in ISAS:
        with Engine(write_weights(quant), isa) as engine:
            for joints, logits in zip(q, forward_int8(quant, q), strict=True):
                engine.run(joints)
                assert np.array_equal(engine.logits_int8()[0], logits), isa


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 20), st.integers(0, 1))
@PROPERTY
def test_convolutions_of_enlarged_maps_agree_with_the_numpy_references(seed: int, c: int, out: int, relu: int):
    rng = np.random.default_rng(seed)
    graph = enlarged(rng, c, out, relu)
    q = rng.uniform(-3, 3, (3, 2)).astype(np.float32)
    quant = quantize_graph(graph, calibrated(graph, q))
    reshape = graph.layers[2].attrs
    assert upconv(*graph.layers[3:5], (c, reshape["height"], reshape["width"]))
    check_engines(graph, quant, q)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["conv", "convt"]), st.integers(17, 70), st.integers(1, 40),
       st.floats(-2.5, 0.5))
@PROPERTY
def test_wide_sparse_convolutions_agree_with_the_numpy_references(seed: int, kind: str, c: int, out: int, bias: float):
    rng = np.random.default_rng(seed)
    h, w, k, stride = rng.integers(1, 6), rng.integers(1, 6), rng.integers(2, 6), rng.integers(1, 4)
    pad = int(rng.integers(0, k))
    shape = (out, c, k, k) if kind == "conv" else (c, out, k, k)
    size = [n + 2 * pad - k + 1 if kind == "conv" else (n - 1) * stride - 2 * pad + k for n in (h, w)]
    assume(min(size) > 0)
    attrs = {"pad": pad, "relu": 1} | ({"stride": int(stride)} if kind == "convt" else {})
    layers = (Layer("sincos", "in"), weighted(rng, "linear", "seam", (int(c * h * w), 4), relu=1),
              Layer("reshape", "reshape", {"channels": c, "height": int(h), "width": int(w)}),
              weighted(rng, kind, "wide", tuple(map(int, shape)), **attrs),
              weighted(rng, "conv", "head", (1, out, 1, 1), pad=0, relu=0))
    layers[1].bias[:] += bias  # the share of zeros: from few to nearly all
    graph = Graph(2, 1, int(size[0]), int(size[1]), layers)
    q = rng.uniform(-3, 3, (3, 2)).astype(np.float32)
    check_engines(graph, quantize_graph(graph, calibrated(graph, q)), q)


def check_engines(graph: Graph, quant: QuantGraph, q: np.ndarray) -> None:
    """INT8 bit for bit, FP32 within rounding, on every instruction set."""
    expected = forward(graph, q)
    for isa in ISAS:
        with Engine(write_weights(quant), isa) as engine:
            for joints, logits in zip(q, forward_int8(quant, q), strict=True):
                engine.run(joints)
                assert np.array_equal(engine.logits_int8()[0], logits), isa
        with Engine(write_weights(graph), isa) as engine:
            assert np.abs(engine.predict(q) - expected).max() <= FP32_TOLERANCE * max(1.0, np.abs(expected).max()), isa


@given(graphs())
@PROPERTY
def test_fp32_engines_agree_with_the_numpy_reference(case: tuple[Graph, int]):
    graph, seed = case
    q = np.random.default_rng(seed).uniform(-3, 3, (4, graph.n_joints)).astype(np.float32)
    expected = forward(graph, q)
    for isa in ISAS:
        with Engine(write_weights(graph), isa) as engine:
            assert np.abs(engine.predict(q) - expected).max() <= FP32_TOLERANCE * max(1.0, np.abs(expected).max()), isa


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.sampled_from(["relu", "signed"]))
@PROPERTY
def test_extreme_weights_and_activations_do_not_overflow(seed: int, width: int, mode: str):
    rng = np.random.default_rng(seed)
    extreme = lambda *shape: rng.choice([-1.0, 1.0], shape).astype(np.float32)  # noqa: E731
    layers = (
        Layer("sincos", "in"),
        Layer("linear", "a", {"relu": mode == "relu"}, extreme(width, 2), 9 * extreme(width)),
        Layer("linear", "b", {}, extreme(48, width), extreme(48)),
        Layer("reshape", "r", {"channels": 1, "height": 6, "width": 8}),
    )
    graph = Graph(1, 1, 6, 8, layers)
    q = rng.uniform(-3, 3, (4, 1)).astype(np.float32)
    quant = quantize_graph(graph, {"a": 8 / 127, "b": width / 30})
    for isa in ISAS:
        with Engine(write_weights(quant), isa) as engine:
            for joints, logits in zip(q, forward_int8(quant, q), strict=True):
                engine.run(joints)
                assert np.array_equal(engine.logits_int8()[0], logits), isa


def _expected_score(logits: np.ndarray, mask: np.ndarray) -> tuple[float, float, float, int, int, int]:
    x = logits.astype(np.float64)
    p, predicted = 1 / (1 + np.exp(-x)), x > 0
    softplus = np.logaddexp(0, x)
    counts = (int((predicted & mask).sum()), int(predicted.sum()), int(mask.sum()))
    return np.sum(softplus) - np.sum(x[mask]), np.sum((p - mask) ** 2), np.sum(softplus - x * p), *counts


def _check_score(engine: Engine, mask: np.ndarray, packed: np.ndarray) -> None:
    score, logits = engine.score(packed), engine.logits()
    nll, squared, entropy, intersection, predicted, observed = _expected_score(logits, mask)
    close = partial(pytest.approx, rel=SCORE_TOLERANCE, abs=1e-6 * mask.size)
    assert (score.nll, score.squared_err, score.entropy) == (close(nll), close(squared), close(entropy))
    union = predicted + observed - intersection
    assert (score.intersection, score.union, score.n_pixels) == (intersection, union, mask.size)
    blocks = engine.blocks()
    for view, row, column in np.ndindex(blocks.shape):
        at = (view, slice(BLOCK * row, BLOCK * row + BLOCK), slice(BLOCK * column, BLOCK * column + BLOCK))
        block, *counts = blocks[view, row, column], *_expected_score(logits[at], mask[at])
        close = partial(pytest.approx, rel=SCORE_TOLERANCE, abs=1e-6 * BLOCK**2)
        assert (block["nll"], block["squared_err"], block["entropy"]) == tuple(close(x) for x in counts[:3])
        assert (block["intersection"], block["predicted"], block["observed"]) == tuple(counts[3:])


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 9), st.integers(1, 41), st.floats(0.01, 60))
@PROPERTY
def test_score_equals_the_formula_and_ignores_padding_bits(seed: int, v: int, h: int, w: int, spread: float):
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, spread, (v * h * w, 2)).astype(np.float32)
    bias = rng.normal(0, spread, v * h * w).astype(np.float32)
    layers = (Layer("sincos", "in"), Layer("linear", "a", {}, weight, bias),
              Layer("reshape", "r", {"channels": v, "height": h, "width": w}))
    graph = Graph(1, v, h, w, layers)
    q = np.array([0.7], np.float32)
    mask = rng.random((v, h, w)) < 0.4
    packed = np.packbits(mask, axis=-1)
    if w % 8:
        packed[..., -1] |= (1 << (8 - w % 8)) - 1
    for isa in ISAS:
        for blob in (write_weights(graph), write_weights(quantize_graph(graph, calibrated(graph, q[None])))):
            with Engine(blob, isa) as engine:
                engine.run(q)
                _check_score(engine, mask, packed)


def test_instruction_sets_score_int8_with_the_same_bits():
    graph = decoder(np.random.default_rng(2))
    q = np.random.default_rng(3).uniform(-2, 2, (5, 3)).astype(np.float32)
    blob = write_weights(quantize_graph(graph, calibrated(graph, q)))
    packed = np.packbits(np.random.default_rng(4).random((2, 20, 25)) < 0.3, axis=-1)
    scores = []
    for isa in ISAS:
        with Engine(blob, isa) as engine:
            engine.run(q[0])
            scores.append(engine.score(packed))
    assert all(score == scores[0] for score in scores)


def _blob(precision: str) -> bytes:
    graph = decoder(np.random.default_rng(8))
    q = np.random.default_rng(9).uniform(-2, 2, (8, 3)).astype(np.float32)
    return write_weights(graph if precision == "fp32" else quantize_graph(graph, calibrated(graph, q)))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_changed_or_missing_byte_is_refused(precision: str):
    blob = _blob(precision)
    rng = np.random.default_rng(10)
    places = np.concatenate([np.arange(64 + 9 * 128), rng.integers(64 + 9 * 128, len(blob), 200)])
    for i in places:
        changed = bytearray(blob)
        changed[i] ^= 1 << rng.integers(8)
        with pytest.raises(RuntimeFault):
            Engine(bytes(changed))
    for n in [0, 1, 63, 64, 65, *rng.integers(0, len(blob), 50)]:
        with pytest.raises(RuntimeFault):
            Engine(blob[:n])


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_resealed_nonsense_is_refused_or_runs_without_a_crash(precision: str):
    blob, rng, opened = _blob(precision), np.random.default_rng(11), 0
    words = [0, 1, 2, 3, 7, 16, 64, 127, 255, 4096, 2**16, 2**22, 2**31 - 1, 2**31, 2**32 - 1, 0x7F800000, 0x7FC00000]
    for _ in range(3000):
        changed = bytearray(blob)
        for _ in range(rng.integers(1, 3)):
            struct.pack_into("<I", changed, 4 * int(rng.integers(2, (64 + 9 * 128) // 4)), int(rng.choice(words)))
        struct.pack_into("<I", changed, 40, 0)
        struct.pack_into("<I", changed, 40, zlib.crc32(changed))
        try:
            with Engine(bytes(changed)) as engine:
                engine.run(np.zeros(engine.info.n_joints))
                opened += 1
        except RuntimeFault:
            pass
    assert opened < 1500


def test_an_open_engine_describes_itself_and_guards_its_inputs():
    graph = decoder(np.random.default_rng(12))
    blob = write_weights(graph)
    with Engine.open(blob) as engine:
        assert (engine.info.parameters, engine.info.macs) == count(graph)
        assert (engine.info.weight_bytes, engine.info.n_layers) == (len(blob), len(graph.layers))
        assert engine.info.isa == ISAS[-1]
        with pytest.raises(RuntimeFault, match="NaN"):
            engine.run(np.array([0, np.nan, 0]))
        with pytest.raises(RuntimeFault, match="range"):
            engine.run(np.array([0, 2e4, 0]))
        with pytest.raises(RuntimeFault, match="expected \\(3,\\)"):
            engine.run(np.zeros(4))
        with pytest.raises(RuntimeFault, match="integer logits"):
            engine.logits_int8()
        with pytest.raises(RuntimeFault, match="packed mask"):
            engine.score(np.zeros((2, 20, 25), np.uint8))
    with pytest.raises(RuntimeFault, match="closed"):
        engine.run(np.zeros(3))
    engine.close()


def test_unknown_and_missing_instruction_sets_and_files_are_refused(tmp_path):
    blob = _blob("fp32")
    with pytest.raises(RuntimeFault, match="unknown instruction set"):
        Engine(blob, "sse9")
    missing = next(isa for isa in ("neon", "avx512") if isa not in ISAS)
    with pytest.raises(RuntimeFault, match="This machine runs scalar"):
        Engine(blob, missing)
    with pytest.raises(RuntimeFault, match="cannot read"):
        Engine(tmp_path / "none.ekw")
    path = tmp_path / "model.ekw"
    path.write_bytes(blob)
    with Engine(path) as engine:
        assert engine.shape == shapes(decoder(np.random.default_rng(8)))[-1]
