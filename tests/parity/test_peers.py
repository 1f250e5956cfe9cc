"""The benchmark's own parts: numpy's scoring is the engine's, the LiteRT file is the graph, the ratios are right."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekin.compile.weights import write_weights
from edgekin.models.graph import Graph
from edgekin.models.reference import forward
from edgekin.runtime.engine import Engine
from tests.parity.graphs import calibrated, decoder, weighted

BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")
#: float32 sums over a picture of some thousand pixels.
SCORE_TOLERANCE = 1e-5


@pytest.fixture
def benchmarks(monkeypatch):
    if not Path(BENCHMARKS).is_dir():
        pytest.skip("needs the checkout: benchmarks/ is not installed")
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield
    for name in ("peers", "litert", "bench_engines"):
        sys.modules.pop(name, None)


def without_odd_layers(rng):
    """The decoder of every layer, its first transposed convolution one that LiteRT can express."""
    graph = decoder(rng)
    return Graph(graph.n_joints, graph.n_views, graph.height, graph.width, tuple(
        weighted(rng, "conv", "conv", (8, 8, 1, 1), pad=0, relu=1) if layer.name == "conv" else layer
        for layer in graph.layers))


def test_numpy_scores_as_the_engine_does(benchmarks):
    from peers import NumpyScore

    rng = np.random.default_rng(0)
    graph = decoder(rng)
    with Engine.open(write_weights(graph)) as engine:
        score = NumpyScore(engine.shape)
        for _ in range(5):
            engine.run(rng.normal(size=3))
            packed = np.packbits(rng.random(engine.shape) < 0.3, axis=-1)
            expected = engine.score(packed)
            nll, squared, intersection, union = score(engine.logits(), packed)
            assert nll == pytest.approx(expected.nll, rel=SCORE_TOLERANCE)
            assert squared == pytest.approx(expected.squared_err, rel=SCORE_TOLERANCE)
            assert (intersection, union) == (expected.intersection, expected.union)


@pytest.mark.parametrize("make", [decoder, without_odd_layers])
def test_the_litert_file_is_the_graph(benchmarks, make, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed: pip install 'edgekin[bench]'")
    from litert import export_litert
    from peers import open_litert

    rng = np.random.default_rng(1)
    graph, poses = make(rng), rng.normal(size=(4, 3))
    expected = forward(graph, poses)
    scales = calibrated(graph, np.concatenate([poses, rng.normal(size=(60, 3))]))
    for precision, share, given in (("fp32", 1e-5, None), ("int8", 0.1, scales)):
        (tmp_path / f"{precision}.tflite").write_bytes(export_litert(graph, given))
        predict = open_litert(tmp_path, precision).predict
        got = np.stack([predict(q[None].astype(np.float32)).copy() for q in poses])
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= share * np.abs(expected).max()


def test_ratios_name_the_fastest_peer_and_their_spread(benchmarks):
    from bench_engines import Contestant, ratios
    from peers import ENGINES, Opened

    opened = Opened(lambda q: q, lambda q, m: 0.0)
    times = {"onnxruntime_fp32": 40.0, "openvino_fp32": 30.0, "litert_int8": 20.0, "edgekin_fp32": 15.0,
             "edgekin_int8": 10.0}
    found = [Contestant(e, opened, [us, us], [us] * 3) for e in ENGINES if (us := times.get(e.key))]
    values, spread = ratios(found)
    assert values == {"onnxruntime_fp32": 4.0, "best_peer": 2.0, "best_fp32_peer": 3.0,
                      "ours_fp32_to_best_fp32_peer": 2.0}
    assert spread["best_peer"] == {"peer": "litert_int8", "ours": "edgekin_int8", "p10": 2.0, "p90": 2.0}


def test_an_engine_that_cannot_be_opened_is_reported_and_the_rest_runs(benchmarks, tmp_path):
    from bench_engines import alone, open_all, time_all

    rng = np.random.default_rng(2)
    graph = decoder(rng)
    (tmp_path / "fp32.ekw").write_bytes(write_weights(graph))
    masks = np.packbits(rng.random((4, 2, 20, 25)) < 0.3, axis=-1)
    np.savez(tmp_path / "frames.npz", joint_pos=rng.normal(size=(4, 3)).astype(np.float32), packed=masks)
    found, missing = open_all(tmp_path, {"fp32.tflite": "no operator for crop"}, ["litert_fp32"])
    assert [c.engine.key for c in found] == ["edgekin_fp32"]
    assert "no operator for crop" in missing["litert_fp32"]
    assert "edgekin_int8" in missing
    assert time_all(found, tmp_path, 0.0) == len(found[0].round_us) == 3
    alone(argparse.Namespace(alone="edgekin_fp32", work=str(tmp_path)))
