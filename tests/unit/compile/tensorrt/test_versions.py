"""Every version of TensorRT by its own names, on a GPU: both emulated (emulated.py, host_driver.cc)."""

import json
import sys

import numpy as np
import pytest

from edgekin.compile.onnx_export import run_onnx
from edgekin.compile.tensorrt import device
from edgekin.compile.tensorrt.backoff import int8_layers
from edgekin.compile.tensorrt.builder import BuildFailed
from edgekin.compile.tensorrt.maker import PlanOptions, plan_maker
from edgekin.compile.tensorrt.target import PlanTarget, flavours
from edgekin.errors import ConfigError, RuntimeFault
from edgekin.plans import api as api_module
from edgekin.plans import timing_cache_file
from edgekin.plans.engine import PlanEngine
from edgekin.quantization.profile import Calibration, LayerRange
from edgekin.runtime.cuda import CudaOptions
from tests.unit.compile.tensorrt.emulated import NAMES
from tests.unit.conftest import shuffle_graph

pytest.importorskip("onnx", reason="needs onnx: pip install 'edgekin[train]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'edgekin[train]'")

GRAPH = shuffle_graph()
Q = np.random.default_rng(0).uniform(-2, 2, (5, 4))


def flavoured(precision):
    ranges = {layer.name: LayerRange("", "", 1.0, 1.0, 0.05) for layer in GRAPH.layers if layer.weight is not None}
    calibration = Calibration(ranges, "minmax", 100.0, "train", 32, "", 0, "", "") if precision == "int8" else None
    return flavours(GRAPH, precision, calibration)


def about(plan):
    return json.loads(plan.content.partition(b"\0")[0])


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("version", NAMES)
def test_precisions_are_asked_for_as_the_version_has_it(tensorrt, version, precision):
    tensorrt(version)
    made = plan_maker("tensorrt", PlanOptions()).make(flavoured(precision), precision)
    strong = version != "8.6.2"
    assert made.plan.typing == ("strong" if strong else "weak")
    by_flags = [] if strong or precision == "fp32" else ["FP16"] + ["INT8"] * (precision == "int8")
    assert [flag for flag in about(made.plan)["flags"] if flag != "TF32"] == by_flags
    assert ("TF32" in about(made.plan)["flags"]) == (precision != "fp32")
    assert made.plan.model == ("model.strong.onnx" if strong and precision != "fp32" else "model.onnx")
    assert made.model == flavoured(precision).files()[made.plan.model]
    assert all(layer.kept for layer in made.plan.layers)
    assert {layer.asked for layer in made.plan.layers} == ({"fp16", "int8"} if precision == "int8" else {precision})
    assert made.plan.place.stem == f"tensorrt-{version}-sm87"


@pytest.mark.usefixtures("driver")
def test_typing_that_fails_falls_back_to_flags(tensorrt):
    tensorrt("10.3.0", refuses=lambda typing, flags, model: "Myelin fails" * (typing == "strong"))
    made = plan_maker("tensorrt", PlanOptions()).make(flavoured("int8"), "int8")
    assert (made.plan.typing, made.plan.model, made.plan.dropped) == ("weak", "model.onnx", {})


@pytest.mark.usefixtures("driver")
def test_a_layer_that_fails_in_every_typing_goes_back_to_fp16(tensorrt):
    def refuses(typing, flags, model):
        return "no implementation for conv1_Conv" if "conv1" in int8_layers(model) else ""

    tensorrt("10.3.0", refuses=refuses)
    made = plan_maker("tensorrt", PlanOptions()).make(flavoured("int8"), "int8")
    assert made.plan.typing == "strong"
    assert list(made.plan.dropped) == ["conv1"]
    assert {layer.name: layer.got for layer in made.plan.layers}["conv1"] == "fp16"


@pytest.mark.usefixtures("driver")
def test_nothing_that_builds_is_an_error_with_every_reason(tensorrt):
    tensorrt("10.3.0", refuses=lambda typing, flags, model: f"{typing} is out of memory")
    with pytest.raises(BuildFailed, match=r"strong typing: .*strong is out of memory; weak typing: .*weak is out of"):
        plan_maker("tensorrt", PlanOptions()).make(flavoured("fp16"), "fp16")


def test_a_plan_on_the_gpu_gives_what_onnx_runtime_gives_and_frees_everything(tensorrt, driver):
    tensorrt("10.3.0")
    maker = plan_maker("tensorrt", PlanOptions())
    made = maker.make(flavoured("int8"), "int8")
    assert np.array_equal(device.predict(maker.api, made.plan.content, Q), run_onnx(made.model, Q))
    assert driver.owned() == 0
    engine = PlanEngine(maker.api, made.plan.content)
    assert driver.owned() == 7  # context, stream, event, joints, pictures, graph and what is replayed of it
    engine.close()
    engine.close()
    assert driver.owned() == 0


def test_a_refused_enqueue_is_an_error_and_not_the_last_picture(tensorrt, driver):
    refuses = []
    tensorrt("10.3.0", accepts=lambda: not refuses)
    maker = plan_maker("tensorrt", PlanOptions())
    plan = maker.make(flavoured("fp16"), "fp16").plan.content
    refused = pytest.raises(RuntimeFault, match=r"10\.3\.0 refused to enqueue.*Build the plan on this machine")
    with PlanEngine(maker.api, plan, CudaOptions(graph=False)) as engine:
        engine.run(Q[0])
        engine.logits()
        refuses.append(True)
        engine.run(Q[1])
        with refused:
            engine.logits()
    with refused:
        device.predict(maker.api, plan, Q)
    assert driver.owned() == 0


def test_a_plan_that_tensorrt_refuses_is_an_error(tensorrt, driver):
    tensorrt("10.3.0")
    api = api_module.load("tensorrt")
    with pytest.raises(RuntimeFault, match="refused the plan: Serialization assertion failed"):
        PlanEngine(api, b"of another version")
    assert driver.owned() == 0


@pytest.mark.usefixtures("driver")
def test_the_fastest_of_several_builds_is_kept_and_its_timings_too(tensorrt, monkeypatch):
    times = iter([30.0, 10.0, 20.0])
    monkeypatch.setattr(device, "p50_us", lambda api, plan: next(times))
    tensorrt("8.6.2")
    maker = plan_maker("tensorrt", PlanOptions(builds=3))
    cache = timing_cache_file(maker.place)
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"timed before")
    assert maker.make(flavoured("fp16"), "fp16").plan.frame_us == (30.0, 10.0, 20.0)
    assert cache.read_bytes() == b"timed "  # the second build began without earlier timings


@pytest.mark.usefixtures("driver")
def test_timings_are_taken_over_unless_they_are_of_another_machine(tensorrt):
    tensorrt("8.6.2")
    maker = plan_maker("tensorrt", PlanOptions())
    cache = timing_cache_file(maker.place)
    for _ in range(2):
        maker.make(flavoured("fp32"), "fp32")
    assert cache.read_bytes() == b"timed timed "
    cache.write_bytes(b"garbage")
    maker.make(flavoured("fp32"), "fp32")
    assert cache.read_bytes() == b"timed "


@pytest.mark.usefixtures("driver")
def test_tensorrt_builds_for_the_gpu_that_is_here_alone(tensorrt):
    tensorrt("10.3.0")
    assert plan_maker("tensorrt", PlanOptions((87,))).place.sms == (87,)
    with pytest.raises(ConfigError, match="builds for the GPU that is here, SM 87, got --sm 86,87"):
        plan_maker("tensorrt", PlanOptions((86, 87)))


def test_without_a_gpu_tensorrt_says_what_can_be_done(tensorrt, monkeypatch):
    monkeypatch.setenv("EDGEKIN_LIBCUDA", "libcuda-that-is-not-there.so")
    tensorrt("10.3.0")
    with pytest.raises(RuntimeFault, match=r"builds on the GPU that a plan is for: no NVIDIA driver here.*--no-plan"):
        PlanTarget("tensorrt", PlanOptions())


def test_without_tensorrt_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # import fails as for a package that is not there
    with pytest.raises(ConfigError, match=r"needs the Python package tensorrt, which is .*--system-site-packages"):
        PlanTarget("tensorrt", PlanOptions())


def test_models_that_are_no_networks_are_refused_in_one_line(monkeypatch):
    from types import SimpleNamespace

    target = PlanTarget("tensorrt", PlanOptions(plan=False))
    with pytest.raises(ConfigError, match=r"of 3 ellipsoids has no ONNX, so no tensorrt plan.*--target native"):
        target.body(SimpleNamespace(links=[0, 1, 2]), "int8")
    with pytest.raises(ConfigError, match=r"ffksm \(7 MACs a picture\) has no tensorrt plan.*--target onnx"):
        target.field(SimpleNamespace(count=lambda: (1, 7)), "fp32")
