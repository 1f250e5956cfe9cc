"""The form of a network that is quantized: the one that repeats it best on poses nothing was fitted to."""

import numpy as np
import pytest

from edgekin.models.graph import Graph, Layer
from edgekin.models.reference import forward
from edgekin.quantization import prepare
from edgekin.quantization.calibrate import CalibrationSource, Calibrator, fidelity_db, reference_predict, split
from edgekin.quantization.prepare import prepared
from edgekin.quantization.profile import CalibrationProfile
from edgekin.quantization.qgraph import quantize_graph
from tests.parity.graphs import weighted

SOURCE = CalibrationSource(CalibrationProfile(samples=200), 0, "train.npz")


@pytest.fixture
def decoder() -> Graph:
    rng = np.random.default_rng(9)
    layers = (Layer("sincos", "in"), weighted(rng, "linear", "linear0", (48, 6), relu=1),
              weighted(rng, "linear", "linear1", (48, 48), relu=1),
              weighted(rng, "linear", "seam", (6 * 64, 48), relu=1),
              Layer("reshape", "reshape", {"channels": 6, "height": 8, "width": 8}),
              weighted(rng, "conv", "head", (1, 6, 3, 3), pad=1, relu=0))
    return Graph(3, 1, 8, 8, layers)


def poses(seed: int, n: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.5, 1.5, (n, 3))


def faithful(calibrator: Calibrator, graph: Graph, q: np.ndarray) -> float:
    quantized = quantize_graph(calibrator.graph, calibrator.single("percentile").scales)
    return fidelity_db(forward(graph, q), reference_predict(quantized, q))


def test_the_prepared_form_beats_the_plain_one_on_unseen_poses(decoder):
    plain = Calibrator(decoder, poses(1), SOURCE)
    chosen = prepared(decoder, poses(1), SOURCE, reference_predict)
    assert chosen.graph is not decoder
    assert faithful(chosen, decoder, poses(2)) > faithful(plain, decoder, poses(2)) + 1.0


def test_forms_that_repeat_it_worse_are_not_chosen(decoder, monkeypatch):
    def spoiled(graph, joint_pos):
        assert len(joint_pos) == len(split(graph, poses(1))[0])
        return Graph(3, 1, 8, 8, tuple(
            Layer(v.kind, v.name, v.attrs, None if v.weight is None else 1.3 * v.weight, v.bias) for v in graph.layers))

    monkeypatch.setattr(prepare, "rounded", spoiled)
    assert prepared(decoder, poses(1), SOURCE, reference_predict).graph is decoder
