"""edgekin estimate: the work of real bundles against the profile's, the arithmetic by hand, and its own monotony."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from edgekin.bundle import DETECTOR, KNOWN_ANSWERS, WEIGHTS, known_answers_bytes, load_bundle, write_manifest
from edgekin.cli import cli
from edgekin.compile.weights import write_body, write_weights
from edgekin.errors import BundleError, ConfigError
from edgekin.estimation.devices import DEVICES, load_assumptions, load_device, load_devices
from edgekin.estimation.estimate import estimate_bundle, estimate_workload
from edgekin.estimation.workload import Work, Workload, workload_of
from edgekin.models.body import ELLIPSOID, Optics, sections
from edgekin.models.body_graph import BodyGraph
from edgekin.models.graph import Graph, Layer
from edgekin.runtime.engine import Engine
from edgekin.runtime.profile import raw_layers
from tests.small_arm import small_arm


def pack(folder, weights, target="native"):
    """Make a bundle of a weight file; what an estimate does not read is empty."""
    folder.mkdir(parents=True)
    with Engine.open(weights) as engine:
        poses = np.zeros((2, engine.info.n_joints))
        answers = {"logits": engine.predict(poses), "tolerance": np.array(1e-3)}
    names = {WEIGHTS: weights, DETECTOR: b"{}", KNOWN_ANSWERS: known_answers_bytes(poses, **answers),
             "robot.urdf": b"", "robot.yaml": b"", "model.onnx": b""}
    for name, content in names.items():
        (folder / name).write_bytes(content)
    write_manifest(folder, {"target": target, "precision": "fp32", "robot": {}})
    return folder


@pytest.fixture
def decoder(tmp_path):
    """A bundle of a small decoder of every kind that training yields."""
    rng = np.random.default_rng(0)

    def weights(*shape):
        return rng.normal(scale=0.1, size=shape).astype(np.float32)

    graph = Graph(3, 1, 24, 24, (
        Layer("sincos", "sincos0"),
        Layer("linear", "linear0", {"relu": True}, weights(64, 6), weights(64)),
        Layer("linear", "linear1", {"relu": True}, weights(8 * 6 * 6, 64), weights(8 * 6 * 6)),
        Layer("reshape", "reshape0", {"channels": 8, "height": 6, "width": 6}),
        Layer("convt", "convt0", {"stride": 2, "pad": 1, "relu": True}, weights(8, 8, 4, 4), weights(8)),
        Layer("conv", "conv0", {"pad": 1, "relu": False}, weights(4, 8, 3, 3), weights(4)),
        Layer("pixel_shuffle", "pixel_shuffle0", {"factor": 2})))
    return pack(tmp_path / "decoder", write_weights(graph))


@pytest.fixture
def body(tmp_path):
    """A bundle of a body model with 24 ellipsoids."""
    spec, n = small_arm(32, 24), 24
    where, rng = sections(spec, n, False), np.random.default_rng(1)
    flat = np.zeros(where.total, np.float32)
    e = flat[where.ellipsoids].reshape(-1, ELLIPSOID)
    e[:, :3], e[:, 3:6], e[:, 6] = rng.normal(scale=0.05, size=(n, 3)), np.log(0.05), 1.0
    e[:, 10], e[:, 11] = 1.5, 3.0
    graph = BodyGraph(spec, (np.arange(n) % len(spec.links)).astype(np.int32), Optics(), flat)
    return pack(tmp_path / "body", write_body(graph)), graph


def test_the_work_of_a_decoder_is_the_profiles(decoder):
    work = workload_of(load_bundle(decoder))
    with Engine.open(decoder / WEIGHTS) as engine:
        raw = raw_layers(engine)
        assert work.macs == engine.info.macs
        assert work.weight_bytes("fp32") == sum(layer.weight_bytes for layer in raw)
        assert work.layers[-1].elements == 24 * 24 + 24 * 24 // 8
    assert not work.is_body
    assert work.bytes("int8") < 0.4 * work.bytes("fp32")
    assert work.weight_bytes("fp16") == work.weight_bytes("fp32") // 2


def test_the_work_of_a_body_model_is_posing_projecting_and_drawing(body):
    path, graph = body
    work = workload_of(load_bundle(path))
    _, posing = graph.count()
    with Engine.open(path / WEIGHTS) as engine:
        logits = engine.predict(np.zeros((1, engine.info.n_joints)))
    silhouette = int((1 / (1 + np.exp(-logits)) > 0.01).sum())
    assert silhouette > 20
    assert work.is_body
    assert work.layers[0].least_macs == posing + 9 * silhouette
    assert work.layers[0].macs == posing + 9 * silhouette * 24


def test_the_arithmetic_by_hand():
    device = load_device("agx-orin-64")
    assert device.memory_gb_s == pytest.approx(204.7, abs=0.1)
    assert 2 * device.gpu_gmacs("fp16", tensor_cores=True) == pytest.approx(42.6e3, rel=0.01)  # 42.6 TFLOPS dense
    assert 2 * device.gpu_gmacs("int8", tensor_cores=True) == pytest.approx(85e3, rel=0.01)
    assert load_device("orin-nano-8").memory_gb_s == pytest.approx(102.4, abs=0.1)
    assert load_device("orin-nano-4", "10W").memory_gb_s == pytest.approx(34.1, abs=0.1)
    # 5 million FP16 weights in one layer: 10 MB over 102.4 GB/s and no L2 holds them.
    work = Workload((Work("linear", 5_000_000, 5_000_000, 0, 0),), False)
    fp16 = next(e for e in estimate_workload(work, load_device("orin-nano-8"))
                if (e.engine, e.precision) == ("tensorrt", "fp16"))
    assumed = load_assumptions()
    memory_us = 10e6 / (device.memory_gb_s / 2 * 1e3)
    assert fp16.weights_in == "DRAM"
    assert fp16.memory_us.best == pytest.approx(memory_us)
    assert fp16.memory_us.worst == pytest.approx(memory_us / assumed.gpu_memory_share.worst)
    assert fp16.launches.best == 2  # the layer, and the comparison with the mask
    host = load_device("orin-nano-8").host_us.best
    assert fp16.total_us.best == pytest.approx(memory_us + host + 2 * assumed.kernel_gap_us.best)
    assert fp16.bound == "memory"


@pytest.mark.parametrize("device", load_devices())
def test_on_every_device_and_mode_best_is_not_above_worst(decoder, body, device):
    for path in (decoder, body[0]):
        for mode in load_devices()[device]:
            result = estimate_bundle(path, device, mode)
            for estimate in result.estimates:
                for part in ("launches", "barriers", "compute_us", "memory_us", "launch_us", "total_us"):
                    found = getattr(estimate, part)
                    assert 0 <= found.best <= found.worst, (estimate.engine, part)
                parts = (estimate.compute_us, estimate.memory_us, estimate.launch_us)
                assert estimate.total_us.worst == pytest.approx(sum(part.worst for part in parts))
                assert estimate.total_us.best > 0
                assert estimate.holds_hz.best >= estimate.holds_hz.worst


def test_int8_is_never_estimated_slower_and_faster_clocks_help(decoder):
    for device in load_devices():
        found = {(e.engine, e.precision): e.total_us for e in estimate_bundle(decoder, device).estimates}
        assert ("native", "int8") not in found or found["native", "int8"].best <= found["native", "fp32"].best
        assert found["cuda", "int8"].worst <= found["cuda", "fp16"].worst
    slow = estimate_bundle(decoder, "orin-nano-8", "15W").estimates
    fast = estimate_bundle(decoder, "orin-nano-8", "MAXN_SUPER").estimates
    assert all(a.total_us.worst >= b.total_us.worst for a, b in zip(slow, fast, strict=True))
    other = estimate_bundle(decoder, "orin-nano-8", clocks={"gpu_mhz": 306.0})
    assert other.device.mode == "MAXN_SUPER with other clocks"
    assert other.device.clocks.gpu_mhz == 306.0


def test_body_models_are_not_for_tensorrt(body):
    assert [(e.engine, e.precision) for e in estimate_bundle(body[0], "orin-nx-16").estimates] == [
        ("native", "fp32"), ("cuda", "fp32")]


def test_a_servers_cpu_is_not_guessed(decoder):
    assert {e.engine for e in estimate_bundle(decoder, "h200").estimates} == {"cuda", "tensorrt"}


def test_the_command_labels_an_estimate_everywhere(decoder, tmp_path):
    out = tmp_path / "estimate.json"
    done = CliRunner().invoke(cli, ["estimate", str(decoder), "--device", "orin-nano-8", "--mode", "25W", "--json",
                                    str(out)])
    assert done.exit_code == 0, done.output
    assert "ESTIMATE" in done.output
    assert "was not measured" in done.output
    result = json.loads(out.read_text())
    assert (next(iter(result)), result["schema"], result["estimate"]) == ("schema", "edgekin.estimate/1", True)
    assert result["device"]["gpu_mhz"] == 918
    assert {e["engine"] for e in result["estimates"]} == {"native", "cuda", "tensorrt"}
    assert set(result["sources"]) == {"device", "gpu", "cpu", "assumptions"}


def test_what_cannot_be_estimated_is_one_clear_line(decoder, tmp_path):
    with pytest.raises(ConfigError, match=r"'tx2' is unknown.*orin-nano-8"):
        estimate_bundle(decoder, "tx2")
    with pytest.raises(ConfigError, match="power mode '99W'"):
        estimate_bundle(decoder, "orin-nx-8", "99W")
    with pytest.raises(ConfigError, match="gpu_mhz is 0"):
        estimate_bundle(decoder, "orin-nx-8", clocks={"gpu_mhz": 0.0})
    onnx = pack(tmp_path / "onnx", (decoder / WEIGHTS).read_bytes(), target="onnx")
    with pytest.raises(BundleError, match="native"):
        estimate_bundle(onnx, "orin-nx-8")


def test_every_entry_of_the_data_file_says_where_it_is_from():
    import yaml

    content = yaml.safe_load(DEVICES.read_text())
    entries = [*content["gpus"].values(), *content["cpus"].values(), content["assumptions"],
               *content["devices"].values()]
    assert all(entry["source"].strip() for entry in entries)
