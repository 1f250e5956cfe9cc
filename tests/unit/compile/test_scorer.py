"""Who scores healthy frames: the native engine gives what ONNX Runtime gives, and steps back where it does not."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from edgekin.bundle import ONNX, STRONG, WEIGHTS
from edgekin.compile.native import NativeTarget, weights_of
from edgekin.compile.onnx_export import run_onnx
from edgekin.compile.scorer import MOST_APART, open_scorer
from edgekin.compile.tensorrt.maker import PlanOptions
from edgekin.compile.tensorrt.target import PlanTarget
from edgekin.models.graph import Graph, Layer
from tests.unit.conftest import transposed_graph, weights

pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'edgekin[train]'")

#: Root mean square difference of the residuals, as a share of their standard deviation. FP32 is the order of sums. FP16
#: has 11 bits. INT8 in ONNX keeps the head, narrow layers and the joints in floats, which the native engine does not.
APART = {"fp32": 1e-5, "fp16": 2e-3, "int8": 0.1}
#: The largest difference of one frame's residual, as a share of it.
ONE_FRAME = {"fp32": 1e-5, "fp16": 2e-3, "int8": 0.05}


@pytest.fixture(scope="module")
def run(trained_runs):
    from edgekin.training.run import load_run

    return load_run(trained_runs / "tiny")


@pytest.fixture(scope="module")
def healthy(run):
    """Frames of a healthy trajectory, as the calibration of a detector draws them."""
    from edgekin.sim.arm import healthy_trajectories

    return healthy_trajectories(run.robot, 3.0, 100.0, 7, trajectories=1)[:2]


@pytest.fixture(scope="module")
def products(run):
    """The run compiled for plans that are to be built elsewhere, by precision."""
    from edgekin.compile.native import predict_int8
    from edgekin.models import to_graph
    from edgekin.quantization.calibrate import CalibrationSource, Calibrator
    from edgekin.quantization.profile import CalibrationProfile

    graph, target = to_graph(run.self_model), PlanTarget("tensorrt", PlanOptions(plan=False))
    source = CalibrationSource(CalibrationProfile(), 0, "train")
    calibration = Calibrator(graph, run.train.joint_pos[:64], source, predict_int8).by_method("percentile")
    return {"fp32": target.fp32(graph), "fp16": target.fp16(graph), "int8": target.int8(graph, calibration)}


def random_frames(graph, count=40):
    """Joint angles and masks that have nothing to do with each other."""
    rng = np.random.default_rng(0)
    observed = rng.random((count, graph.n_views, graph.height, graph.width)) < 0.3
    return rng.uniform(-1, 1, (count, graph.n_joints)), np.packbits(observed, axis=-1)


@pytest.mark.parametrize(("precision", "file"), [("fp32", ONNX), ("fp16", STRONG), ("int8", ONNX), ("int8", STRONG)])
def test_the_native_engine_scores_healthy_frames_as_onnx_runtime_does(products, healthy, precision, file):
    product = replace(products[precision], predict=partial(run_onnx, products[precision].files[file]))
    with open_scorer(product, lambda: healthy) as native, \
            open_scorer(replace(product, native=None), lambda: healthy) as judge:
        assert native.engine == ("native int8" if precision == "int8" else "native fp32")
        assert judge.engine == native.held_against.engine == f"onnxruntime {precision}"
        assert judge.record() == {"engine": judge.engine, "held_against": None, "note": ""}
        residuals, expected = native.residuals(*healthy), judge.residuals(*healthy)
    assert residuals.shape == expected.shape == (len(healthy[0]),)
    assert np.sqrt(np.mean(np.square(residuals - expected))) <= APART[precision] * expected.std()
    assert np.abs(residuals / expected - 1).max() <= ONE_FRAME[precision]
    assert native.held_against.apart <= APART[precision] < MOST_APART
    assert native.record()["held_against"]["frames"] == 200


def test_weight_files_are_scored_by_the_very_engine_and_stand_for_nothing(run):
    def refuse():
        raise AssertionError("draws frames that nothing is compared on")

    from edgekin.models import to_graph

    with open_scorer(NativeTarget().fp32(to_graph(run.self_model)), refuse) as scorer:
        assert scorer.record() == {"engine": "native fp32", "held_against": None, "note": ""}


def test_a_network_without_native_weights_is_scored_in_onnx_runtime_which_says_why():
    rng = np.random.default_rng(3)
    graph = Graph(3, 1, 8, 8, (
        Layer("joints", "joints0"),
        Layer("linear", "linear0", {"relu": True}, weights(rng, 64, 3), weights(rng, 64, 1)[:, 0]),
        Layer("reshape", "reshape0", {"channels": 1, "height": 8, "width": 8}),
        Layer("conv", "conv0", {"pad": 8, "relu": False}, weights(rng, 1, 1, 17, 17), np.zeros(1, np.float32)),
    ))
    product, frames = PlanTarget("tensorrt", PlanOptions(plan=False)).fp32(graph), random_frames(graph)
    assert WEIGHTS not in product.files
    with open_scorer(product, lambda: frames) as scorer:
        assert scorer.record() == {"engine": "onnxruntime fp32", "held_against": None,
                                   "note": "not native: layer conv0 has kernel 17, expected at most 15"}
        residuals = scorer.residuals(*frames)
    logits = product.predict(frames[0])
    observed = np.unpackbits(frames[1], axis=-1, count=8)
    expected = np.logaddexp(0.0, logits) - observed * logits
    np.testing.assert_allclose(residuals, expected.mean(axis=(1, 2, 3)), rtol=1e-6)


def test_an_engine_that_scores_otherwise_does_not_stand_in():
    graph = transposed_graph()
    head = replace(graph.layers[-1], bias=graph.layers[-1].bias + 1)
    other = replace(graph, layers=(*graph.layers[:-1], head))
    product, frames = PlanTarget("tensorrt", PlanOptions(plan=False)).fp32(graph), random_frames(graph)
    with open_scorer(replace(product, native=lambda: weights_of(other)), lambda: frames) as scorer:
        assert (scorer.engine, scorer.held_against) == ("onnxruntime fp32", None)
        assert scorer.note.startswith("not native fp32: on 40 healthy frames its residuals are ")
        assert scorer.note.endswith("of their spread from those of onnxruntime fp32, allowed 0.25")
