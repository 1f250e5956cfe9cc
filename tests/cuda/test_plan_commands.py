"""Bundles with plans as a user meets them: compile, bench and evaluate by an emulated TensorRT on the host driver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("edgekin._ek", reason="build it: python setup.py build_ext --inplace")
pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
from tests.cli.refusals import assert_refused

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--healthy-seconds", 3, "--samples", 40)
#: What stands for TensorRT in another process: its version and behaviour are the environment's.
STAND_IN = """
import os, sys
from tests.unit.compile.tensorrt.emulated import at_once, emulate, on_stream
uncaptured = os.environ.get("EMULATED_CAPTURE") == "0"
sys.modules[__name__] = emulate(os.environ.get("EMULATED_VERSION", "10.3.0"),
                                accepts=lambda: os.environ.get("EMULATED_ACCEPTS") != "0",
                                enqueues=at_once if uncaptured else on_stream)
"""


@pytest.fixture(scope="module")
def edgekin(host_library, tmp_path_factory):
    """Run the command line beside an emulated TensorRT and a GPU."""
    folder = tmp_path_factory.mktemp("stand-in")
    (folder / "tensorrt.py").write_text(STAND_IN)
    (folder / "elsewhere").mkdir()

    def call(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "EDGEKIN_LIBCUDA": host_library.path, "COLUMNS": "200",
               "XDG_CACHE_HOME": str(folder), "OMP_NUM_THREADS": "1", **environment}
        return subprocess.run([sys.executable, "-m", "edgekin", *map(str, arguments)], cwd=folder / "elsewhere",
                              env=env, capture_output=True, text=True, timeout=300, check=False)

    return call


@pytest.fixture(scope="module")
def bundle(edgekin, trained_runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("plans") / "bundle"
    done = edgekin("compile", trained_runs / "tiny", "--int8", "--force-int8", "--target", "tensorrt", "--out", out,
                   *QUICK)
    assert done.returncode == 0, done.stderr
    return out


def bench(edgekin, bundle, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return edgekin("bench", bundle, "--hz", 20, "--seconds", 0.5, "--fifo", 0, *arguments, **environment)


def test_bench_replays_the_plan_in_the_loop(edgekin, bundle, tmp_path):
    done = bench(edgekin, bundle, "--io", "copy", "--sync", "block", "--json", tmp_path / "b.json")
    assert done.returncode == 0, done.stderr
    assert ("GPU: this processor, sm_87; a plan of tensorrt 10.3.0, replayed as a graph; io copy, sync block"
            in done.stdout)
    result = json.loads((tmp_path / "b.json").read_text())
    assert (result["bundle"]["isa"], result["gpu"]["graph"], result["gpu"]["guest"]) == ("tensorrt", True,
                                                                                        "tensorrt 10.3.0")
    assert result["frames"] > 0


def test_bench_says_why_every_tick_is_enqueued(edgekin, bundle):
    done = bench(edgekin, bundle, EMULATED_CAPTURE="0")
    assert done.returncode == 0, done.stderr
    assert "a plan of tensorrt 10.3.0, enqueued; io mapped, sync spin" in done.stdout
    assert "every tick is enqueued: no CUDA graph, what was enqueued is not in it" in done.stdout


def test_evaluate_scores_what_the_plan_gives(edgekin, bundle, trained_runs, tmp_path):
    data = trained_runs / "tiny" / "test.npz"
    done = edgekin("evaluate", bundle, "--data", data, "--json", tmp_path / "e.json")
    assert done.returncode == 0, done.stderr
    assert "int8 by tensorrt" in done.stdout
    parity = json.loads((bundle / "manifest.json").read_text())["parity"]
    run = edgekin("evaluate", trained_runs / "tiny", "--data", data, "--json", tmp_path / "r.json")
    assert run.returncode == 0, run.stderr
    got, full = (json.loads((tmp_path / name).read_text()) for name in ("e.json", "r.json"))
    assert full["psnr_db"] - got["psnr_db"] == pytest.approx(parity["psnr_loss_db"], abs=5e-3)


@pytest.mark.parametrize("command", ["bench", "evaluate"])
def test_what_cannot_run_a_plan_is_one_line_with_the_remedy(edgekin, bundle, trained_runs, command):
    data = ("--data", trained_runs / "tiny" / "test.npz") if command == "evaluate" else ()
    for environment, says in (
            ({"EMULATED_VERSION": "11.4.0"}, "there is no int8 plan of"),
            ({"EMULATED_ACCEPTS": "0"}, "tensorrt 10.3.0 refused to enqueue: it logged no error. Build the plan on"),
            ({"EDGEKIN_LIBCUDA": "libcuda-that-is-not-there.so"}, "no NVIDIA driver here"),
            ({"PYTHONPATH": str(ROOT)}, "needs the Python package tensorrt, which is")):
        if "PYTHONPATH" in environment and _has_tensorrt():
            continue
        assert_refused(edgekin(command, bundle, *data, **environment), 1, says)


def _has_tensorrt() -> bool:
    return subprocess.run([sys.executable, "-c", "import tensorrt"], capture_output=True, check=False).returncode == 0


def test_a_bundle_without_a_detector_is_for_evaluate_alone(edgekin, bundle, tmp_path):
    for source in (bundle, bundle.with_name(f"{bundle.name}.plans")):
        shutil.copytree(source, tmp_path / source.name)
    copy = tmp_path / bundle.name
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"]["detector.json"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert_refused(bench(edgekin, copy), 1, "has no detector, which judges what the loop sees. Compile its run again")


def test_an_fp16_bundle_of_our_kernels_is_evaluated_in_fp16_or_not_at_all(host_driver, trained_runs, tmp_path,
                                                                        monkeypatch):
    from edgekin.compile.detector import DetectorPlan
    from edgekin.compile.evaluate import evaluate
    from edgekin.compile.pipeline import CompileConfig, compile_run
    from edgekin.compile.tensorrt.maker import PlanOptions
    from edgekin.errors import RuntimeFault
    from edgekin.training.run import load_run

    monkeypatch.setenv("EDGEKIN_LIBCUDA", "libcuda-that-is-not-there.so")
    data = trained_runs / "tiny" / "test.npz"
    for precision in ("fp16", "int8"):
        config = CompileConfig(precision, "cuda", out=tmp_path / precision, plan=PlanOptions(plan=False),
                               force_int8=True, detector=DetectorPlan(healthy_seconds=3.0))
        compile_run(load_run(trained_runs / "tiny"), config)
    assert evaluate(tmp_path / "int8", data).engine != "cuda"
    with pytest.raises(RuntimeFault, match=r"computes in FP16 on a GPU alone: no GPU can be used: no NVIDIA driver"):
        evaluate(tmp_path / "fp16", data)
