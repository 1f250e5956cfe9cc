"""The residual decoder: its graph, its two heads in every engine, its training on depth, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.compile.native import predict, predict_depth
from edgekin.compile.weights import read_header, write_weights
from edgekin.errors import ConfigError, DataError, RuntimeFault
from edgekin.models import PictureShape, build_model, load_model, may_have_depth, model_sizes, needs_depth
from edgekin.models.reference import activations, depth, forward, maps
from edgekin.quantization.qgraph import forward_int8, quantize_graph
from edgekin.robot import load_robot
from edgekin.runtime.engine import Engine, supported_isas
from edgekin.sim.collect import uniform_dataset
from edgekin.training.loop import Split, Trainer
from edgekin.training.settings import TrainConfig
from tests.small_arm import small_arm

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")

SHAPE = PictureShape(3, 2, 22, 30)


def trained_a_little(size="s", shape=SHAPE):
    """A model whose residual branches have something to say."""
    model = build_model("resneurokin-d", size, shape, seed=1)
    with torch.no_grad():
        for name, p in model.module.named_parameters():
            if "second" in name:
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1)
    model.module.eval()
    return model


def angles(n=5):
    return np.random.default_rng(0).uniform(-1.5, 1.5, (n, SHAPE.n_joints))


@pytest.fixture(scope="module")
def robot():
    return small_arm(24, 24)


@pytest.mark.parametrize("size", model_sizes("resneurokin-d"))
def test_plain_layers_give_what_the_residual_blocks_give(size):
    model, q = trained_a_little(size), angles()
    with torch.no_grad():
        logits, metres = (t.numpy() for t in model.module.both(torch.as_tensor(q, dtype=torch.float32)))
        alone = model.module(torch.as_tensor(q, dtype=torch.float32)).numpy()
    assert np.array_equal(alone, logits)
    np.testing.assert_allclose(forward(model.graph(), q), logits, atol=1e-4, rtol=0)
    np.testing.assert_allclose(depth(model.graph(), q), metres, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(model.depth(q), metres)


def test_the_engine_gives_both_heads():
    graph, q = trained_a_little().graph(), angles()
    blob = write_weights(graph)
    assert read_header(blob).depth is not None
    np.testing.assert_allclose(predict(blob, q), forward(graph, q), atol=1e-4, rtol=0)
    np.testing.assert_allclose(predict_depth(blob, q), depth(graph, q), atol=1e-5, rtol=0)


@pytest.mark.parametrize("isa", supported_isas())
def test_integer_heads_have_the_same_bits_on(isa):
    graph, q = trained_a_little().graph(), angles()
    scales = {name: float(np.abs(x).max()) / 127 + 1e-6 for name, x in activations(graph, q)}
    quantized = quantize_graph(graph, scales)
    masks = np.zeros((2, 22, 4), np.uint8)
    with Engine.open(write_weights(quantized), isa) as engine:
        assert engine.info.n_depth == 2
        for pose, expected, whole in zip(q, forward_int8(quantized, q), maps(graph, q), strict=True):
            engine.run(pose)
            assert np.array_equal(engine.logits_int8()[0], expected)
            # The numbers behind the logits mean depth; int8 holds them to a few of its steps.
            wanted = graph.depth.offset_m + graph.depth.unit_m * whole[2:]
            assert np.abs(engine.depth() - wanted).max() < 12 * quantized.out_scale * graph.depth.unit_m
            assert engine.score(masks).n_pixels == 2 * 22 * 30


def test_onnx_has_both_outputs():
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'edgekin[train]'")
    from edgekin.compile.onnx_export import OnnxOptions, export_onnx, run_onnx

    graph, q = trained_a_little().graph(), angles(2)
    plain, half = export_onnx(graph), export_onnx(graph, OnnxOptions(body="fp16", opset=19))
    np.testing.assert_allclose(run_onnx(plain, q), forward(graph, q), atol=1e-4, rtol=0)
    np.testing.assert_allclose(run_onnx(plain, q, "depth"), depth(graph, q), atol=1e-5, rtol=0)
    np.testing.assert_allclose(run_onnx(half, q, "depth"), depth(graph, q), atol=5e-3, rtol=0)


def test_a_decoder_without_depth_says_so():
    model = build_model("neurokin", "s", SHAPE)
    with pytest.raises(ConfigError, match="neurokin predicts silhouettes, not depth"):
        model.depth(angles())
    with pytest.raises(ConfigError, match="no depth head"):
        depth(model.graph(), angles())
    with Engine.open(write_weights(model.graph())) as engine, pytest.raises(RuntimeFault, match="cannot read depth"):
        engine.depth()
    assert needs_depth("resneurokin-d")
    assert not may_have_depth("neurokin")


def test_it_learns_depth_in_metres(robot, tmp_path):
    split = Split(uniform_dataset(robot, 96, 0, depth=True), uniform_dataset(robot, 40, 1, depth=True))
    model = build_model("resneurokin-d", "s", PictureShape.of(robot), 0, robot)
    from edgekin.training.train import measure

    before = measure(model, split, TrainConfig(model="resneurokin-d"))
    Trainer(model, split, TrainConfig(model="resneurokin-d", steps=480)).run()
    found = measure(model, split, TrainConfig(model="resneurokin-d"))
    assert found["depth_mae_m"] < 0.8 * min(before["depth_mae_m"], found["floors"]["mean_image"]["depth_mae_m"])
    assert found["floors"]["mean_image"]["depth_mae_m"] > 0
    assert found["floors"]["nearest"]["depth_mae_m"] > 0
    assert "depth_mae_m" not in found["floors"]["all_black"]
    path = tmp_path / "model.safetensors"
    path.write_bytes(model.to_bytes())
    again = load_model(path)  # the frame of its depth is its own, whatever robot it is loaded with
    np.testing.assert_array_equal(again.depth(split.test.joint_pos), model.depth(split.test.joint_pos))


def test_samples_without_depth_are_refused(robot, tmp_path):
    from edgekin.robot import save_robot
    from edgekin.sim.dataset import save_dataset
    from edgekin.training.protocols import prepare

    save_robot(robot, tmp_path)
    save_dataset(uniform_dataset(load_robot(str(tmp_path)), 40, 0), tmp_path / "flat.npz")
    config = TrainConfig(robot=str(tmp_path), data=str(tmp_path / "flat.npz"), model="resneurokin-d")
    with pytest.raises(DataError, match=r"flat\.npz has no depth, which resneurokin-d learns from"):
        prepare(config)
    with pytest.raises(ConfigError, match="neurokin predicts silhouettes, not depth"):
        prepare(replace(config, model="neurokin", depth=True))
