"""Runs compiled to plans, whole: what is published, what vouches for it, and what is refused."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from edgekin.bundle import load_bundle
from edgekin.compile import pipeline
from edgekin.compile.auto import CANDIDATES, choose
from edgekin.compile.detector import DetectorPlan
from edgekin.compile.pipeline import CompileConfig, compile_run
from edgekin.compile.tensorrt.backoff import int8_layers
from edgekin.compile.tensorrt.maker import PlanOptions
from edgekin.compile.tensorrt.of_bundle import build_for_bundle
from edgekin.compile.timing import Latency
from edgekin.errors import BundleError, ConfigError, GateMissed, RuntimeFault
from edgekin.gpu import Gpu
from edgekin.plans import Place, cache_folder, open_plan
from edgekin.quantization.profile import CalibrationProfile
from tests.unit.compile.tensorrt.emulated import emulate

CONFIG = CompileConfig(profile=CalibrationProfile(samples=40), target="tensorrt",
                       detector=DetectorPlan(healthy_seconds=3.0))
ORIN = Place("tensorrt", "10.3.0", (87,))


def load(folder):
    from edgekin.training.run import load_run

    return load_run(folder)


@pytest.fixture(scope="module")
def orin_bundle(trained_runs, host_library, tmp_path_factory):
    """A bundle and its plan of TensorRT 10.3 on a GPU, both emulated; read only."""
    out = tmp_path_factory.mktemp("orin") / "bundle-tensorrt-int8"
    with pytest.MonkeyPatch.context() as here:
        here.setenv("EDGEKIN_LIBCUDA", host_library.path)
        here.setenv("XDG_CACHE_HOME", str(out.parent))
        here.setitem(sys.modules, "tensorrt", emulate("10.3.0"))
        return compile_run(load(trained_runs / "tiny"), replace(CONFIG, out=out, force_int8=True))


@pytest.fixture
def compiled(orin_bundle, tmp_path):
    """A copy of it that a test may damage."""
    for source in (orin_bundle.bundle, cache_folder(orin_bundle.bundle)):
        shutil.copytree(source, tmp_path / source.name)
    return replace(orin_bundle, bundle=tmp_path / orin_bundle.bundle.name)


def test_rtx_plans_travel_in_the_bundle(run_folder, monkeypatch):
    """The real builder; ONNX Runtime gives the gate what the plan will give."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs TensorRT-RTX: pip install 'edgekin[rtx]'")
    monkeypatch.setenv("EDGEKIN_LIBCUDA", "libcuda-that-is-not-there.so")
    config = replace(CONFIG, target="tensorrt-rtx", plan=PlanOptions((120, 86)))
    result = compile_run(load(run_folder), config)
    assert result.bundle == run_folder / "bundle-tensorrt-rtx-int8"
    assert result.parity.psnr_loss_db <= 0.1
    assert result.weight_bytes < result.rival[0].weight_bytes < result.weight_bytes_fp32
    assert result.latency == {}
    assert result.note.startswith("INT8 is kept for its size")
    bundle = load_bundle(result.bundle)
    healthy = bundle.detector["calibration"]
    assert (healthy["engine"], healthy["held_against"]["engine"]) == ("native int8", "onnxruntime int8")
    assert healthy == result.to_json()["detector"]
    assert {"model.onnx", "model.strong.onnx", "model.plan", "model.plan.json"} <= set(bundle.manifest["files"])
    assert bundle.manifest["plan"] == json.loads(bundle.read("model.plan.json")) == result.to_json()["plan"]
    version = bundle.manifest["plan"]["place"]["version"]
    for sm in (86, 120):
        plan, sidecar = open_plan(bundle, Place("tensorrt-rtx", version, (sm,)))
        assert plan == bundle.read("model.plan")
        assert sidecar["place"]["sms"] == [86, 120]
    elsewhere = Place("tensorrt-rtx", version, (89,))
    with pytest.raises(BundleError, match=r"is for SM 86, 120, here is SM 89\. Build it for this machine: edgekin "
                                          "compile .* --target tensorrt-rtx --sm 89 --force"):
        open_plan(bundle, elsewhere)
    build_for_bundle(bundle.path, "tensorrt-rtx", PlanOptions((89,)), force=True)
    assert open_plan(bundle, elsewhere)[1]["place"]["sms"] == [89]


def test_a_plan_built_here_stands_beside_the_bundle(compiled):
    bundle = load_bundle(compiled.bundle)
    assert "model.plan" not in bundle.manifest["files"]
    names = sorted(path.name for path in cache_folder(compiled.bundle).iterdir())
    assert names == ["int8-tensorrt-10.3.0-sm87.plan", "int8-tensorrt-10.3.0-sm87.plan.json"]
    plan, sidecar = open_plan(bundle, ORIN)
    assert len(plan) == sidecar["plan"]["bytes"] == compiled.weight_bytes
    assert set(compiled.latency) == {"fp32", "fp16", "int8"}
    assert {layer["got"] for layer in sidecar["layers"]} == {"int8", "fp16"}
    healthy = bundle.detector["calibration"]
    assert (healthy["engine"], healthy["held_against"]) == ("tensorrt int8", None)


@pytest.mark.parametrize(("place", "says"), [
    (Place("tensorrt", "10.16.2", (87,)), r"tensorrt-10\.16\.2-sm87"),
    (Place("tensorrt", "10.3.0", (89,)), r"tensorrt-10\.3\.0-sm89"),
    (Place("tensorrt", "10.3.0", (87,), "2"), r"tensorrt-10\.3\.0-sm87-mode2"),
])
def test_a_plan_for_another_machine_is_no_plan_for_this_one(compiled, place, says):
    with pytest.raises(BundleError, match=rf"no int8 plan of .* for {says}; beside it: int8-tensorrt-10\.3\.0-sm87\. "
                                          "Build it for this machine: edgekin compile .* --target tensorrt --force"):
        open_plan(load_bundle(compiled.bundle), place)


@pytest.mark.parametrize(("place", "says"), [
    (Place("tensorrt", "10.16.2", (87,)), r"is for version 10\.3\.0, here is 10\.16\.2"),
    (Place("tensorrt", "10.3.0", (89,)), "is for SM 87, here is SM 89"),
    (Place("tensorrt", "10.3.0", (87,), "2"), "is for power mode none, here is 2"),
])
def test_a_plan_under_another_machines_name_is_refused_before_it_is_opened(compiled, place, says):
    folder = cache_folder(compiled.bundle)
    for end in (".plan", ".plan.json"):
        (folder / f"int8-{ORIN.stem}{end}").rename(folder / f"int8-{place.stem}{end}")
    with pytest.raises(BundleError, match=says):
        open_plan(load_bundle(compiled.bundle), place)


def changed(folder):
    path = folder / f"int8-{ORIN.stem}.plan"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def cut(folder):
    (folder / f"int8-{ORIN.stem}.plan.json").write_text("{")


def without_place(folder):
    (folder / f"int8-{ORIN.stem}.plan.json").write_text('{"schema": "edgekin.plan/1"}')


def of_another_model(folder):
    path = folder / f"int8-{ORIN.stem}.plan.json"
    sidecar = json.loads(path.read_text())
    sidecar["onnx"]["sha256"] = "0" * 64
    path.write_text(json.dumps(sidecar))


def lost(folder):
    (folder / f"int8-{ORIN.stem}.plan").unlink()


@pytest.mark.parametrize(("damage", "says"), [
    (changed, "was changed: its size or sha256"), (cut, "is not valid JSON"), (without_place, "is no sidecar"),
    (of_another_model, r"was built of another model\.strong\.onnx than the bundle has"), (lost, "is no int8 plan"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_a_damaged_plan_is_refused_before_it_is_opened(compiled, damage, says):
    damage(cache_folder(compiled.bundle))
    with pytest.raises(BundleError, match=f"{says}.*Build it for this machine"):
        open_plan(load_bundle(compiled.bundle), ORIN)


def test_the_plan_is_held_against_onnx_runtime_on_the_test_split(driver, tensorrt, run_folder):
    tensorrt("10.3.0", spoils=lambda picture: np.roll(picture, 7, axis=-1))
    with pytest.raises(GateMissed, match="the plan of tensorrt at fp32 is not its ONNX"):
        compile_run(load(run_folder), CONFIG)
    assert not (run_folder / "bundle-tensorrt-int8").exists()
    assert not (run_folder / "bundle-tensorrt-int8.plans").exists()


@pytest.mark.parametrize(("int8_us", "kept"), [(20.0, True), (40.0, False)])
def test_the_faster_of_int8_and_fp16_is_kept_and_the_reason_said(driver, tensorrt, run_folder, monkeypatch, int8_us,
                                                                 kept):
    tensorrt("10.3.0")
    times = {"fp32": 50.0, "fp16": 30.0, "int8": int8_us}
    monkeypatch.setattr(pipeline, "interleaved", lambda frames, q, m: [Latency(t, t, 9) for t in times.values()])
    result = compile_run(load(run_folder), CONFIG)
    assert result.precision == ("int8" if kept else "fp16")
    assert result.bundle.name == f"bundle-tensorrt-{result.precision}"
    assert (result.note.startswith("INT8 is kept: 20 us a frame against FP16's 30") if kept else
            "INT8 is slower than FP16 on this machine (40 us a frame against 30)" in result.note)
    assert open_plan(load_bundle(result.bundle), ORIN)[1]["precision"] == result.precision


def test_where_no_layer_builds_in_int8_fp16_is_written_and_the_reason_said(driver, tensorrt, run_folder):
    def refuses(typing, flags, model):
        return "no kernels of int8" if int8_layers(model) else ""

    tensorrt("10.3.0", refuses=refuses)
    result = compile_run(load(run_folder), CONFIG)
    assert (result.asked, result.precision, result.calibration) == ("int8", "fp16", None)
    assert result.bundle.name == "bundle-tensorrt-fp16"
    assert "no layer builds in INT8: " in result.note
    assert result.note.endswith("no kernels of int8: the FP16 bundle was written")


def test_a_bundle_without_its_plan_gets_it_on_the_device(driver, tensorrt, run_folder, monkeypatch):
    with monkeypatch.context() as workstation:
        workstation.setenv("EDGEKIN_LIBCUDA", "libcuda-that-is-not-there.so")
        result = compile_run(load(run_folder), replace(CONFIG, plan=PlanOptions(plan=False)))
    bundle = load_bundle(result.bundle)
    assert (bundle.target, bundle.precision, bundle.manifest["plan"]) == ("tensorrt", "int8", None)
    with pytest.raises(BundleError, match=r"there is no int8 plan of .*; beside it: none"):
        open_plan(bundle, ORIN)
    tensorrt("10.3.0")
    shutil.copytree(result.bundle, run_folder.parent / "device" / "bundle")  # no run beside it
    bundle = load_bundle(run_folder.parent / "device" / "bundle")
    built = build_for_bundle(bundle.path, "tensorrt", PlanOptions(), force=False)
    assert built.checked.startswith("16 known answers of ONNX Runtime")
    assert open_plan(bundle, ORIN)[0] == built.plan.content
    assert built.to_json()["plan"] == open_plan(bundle, ORIN)[1]
    with pytest.raises(BundleError, match=r"exists already; nothing was overwritten\. Add --force"):
        build_for_bundle(bundle.path, "tensorrt", PlanOptions(), force=False)
    tensorrt("10.3.0", spoils=lambda picture: picture + 9)
    with pytest.raises(GateMissed, match="the plan is off by"):
        build_for_bundle(bundle.path, "tensorrt", PlanOptions(), force=True)
    assert open_plan(bundle, ORIN)[0] == built.plan.content


def test_native_bundles_have_no_plan(run_folder):
    native = replace(CONFIG, target="native", precision="fp32")
    bundle = compile_run(load(run_folder), native).bundle
    with pytest.raises(BundleError, match="is for target native, which no plan can be built of"):
        build_for_bundle(bundle, "tensorrt-rtx", PlanOptions(), force=False)
    with pytest.raises(ConfigError, match="target native builds no plan, so --sm, --builds and --no-plan say nothing"):
        replace(native, plan=PlanOptions((86,))).validated()


def test_auto_takes_the_best_that_is_there_and_says_why(driver, tensorrt, run_folder, monkeypatch):
    run, kernels = load(run_folder), "edgekin.runtime.cuda_kernels.cached_cubin"
    monkeypatch.setattr(kernels, lambda sm: f"cubin for {sm}")
    with monkeypatch.context() as bare:
        bare.setenv("EDGEKIN_LIBCUDA", "libcuda-that-is-not-there.so")
        tensorrt("10.3.0")
        target, why = choose(run, "int8")
        assert target == "native"
        assert why.startswith("target native, the best that is there; not cuda: no NVIDIA driver here: ")
        assert "; not tensorrt: no NVIDIA driver here" in why
        assert "; not tensorrt-rtx: " in why
        assert choose(run, "fp16")[0] == "onnx"
    assert choose(run, "int8") == ("cuda", "target cuda, the best that is there")

    def no_compiler(sm):
        raise RuntimeFault(f"the kernels cannot be compiled for sm_{sm}", "")

    monkeypatch.setattr(kernels, no_compiler)
    expected = "target tensorrt, the best that is there; not cuda: the kernels cannot be compiled for sm_87"
    assert choose(run, "int8") == ("tensorrt", expected)
    result = compile_run(run, replace(CONFIG, target="auto"))
    assert (result.target, result.chosen) == ("tensorrt", expected)


def test_auto_takes_tensorrt_rtx_for_gpus_that_it_builds_for(monkeypatch, run_folder):
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs TensorRT-RTX: pip install 'edgekin[rtx]'")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr("edgekin.compile.auto.CANDIDATES", {k: v for k, v in CANDIDATES.items() if k != "cuda"})
    for sm, expected in ((120, "tensorrt-rtx"), (90, "native")):
        monkeypatch.setattr("edgekin.gpu.gpu", lambda sm=sm: Gpu("made up", sm, 13000, ""))
        target, why = choose(load(run_folder), "int8")
        assert target == expected
        assert "not tensorrt: target tensorrt needs the Python package tensorrt" in why
        assert ("got 90" in why) == (sm == 90)
