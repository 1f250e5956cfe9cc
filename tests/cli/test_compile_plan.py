"""edgekin compile --target tensorrt, tensorrt-rtx and auto as a user meets them, on a machine without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.refusals import assert_refused

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--healthy-seconds", "3", "--samples", "40"]


@pytest.fixture
def edgekin(tmp_path, run_folder):
    """Run the command line in an empty folder, where no driver is; TensorRT itself is hidden, if it is installed."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "tensorrt.py").write_text("raise ModuleNotFoundError(\"No module named 'tensorrt'\", name='tensorrt')\n")

    def call(*arguments):
        environment = {**os.environ, "EDGEKIN_RUNS": str(run_folder.parent), "PYTHONPATH": f"{hidden}:{ROOT}",
                       "COLUMNS": "200", "OMP_NUM_THREADS": "1", "EDGEKIN_LIBCUDA": "libcuda-that-is-not-there.so"}
        return subprocess.run([sys.executable, "-m", "edgekin", "compile", *map(str, arguments)], cwd=tmp_path,
                              env=environment, capture_output=True, text=True, timeout=300, check=False)

    return call


def test_rtx_plans_are_built_shown_and_built_anew_of_the_bundle(edgekin, run_folder, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs TensorRT-RTX: pip install 'edgekin[rtx]'")
    done = edgekin("--int8", "--target", "tensorrt-rtx", "--sm", "86,120", "--json", tmp_path / "c.json", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "SM 86, 120, strongly typed; 2 of 2 int8 layers got it, the other 3 of 5 were not asked to" in done.stdout
    assert "INT8 is kept for its size" in done.stdout
    assert "detector: 300 healthy frames scored by native int8 in place of onnxruntime int8, from " in done.stdout
    result = json.loads((tmp_path / "c.json").read_text())
    assert result["plan"]["place"]["sms"] == [86, 120]
    assert result["rival"]["precision"] == "fp16"
    assert result["parity"]["psnr_loss_db"] <= 0.1
    bundle = run_folder / "bundle-tensorrt-rtx-int8"
    again = edgekin(bundle, "--target", "tensorrt-rtx", "--sm", "89", "--json", tmp_path / "p.json")
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "p.json").read_text())["schema"] == "edgekin.plan-build/1"
    assert len(list((run_folder / "bundle-tensorrt-rtx-int8.plans").glob("int8-tensorrt-rtx-*-sm89.plan"))) == 1


def test_auto_says_which_target_and_why(edgekin, run_folder):
    done = edgekin("--fp32", "--target", "auto", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "target native, the best that is there; not cuda: no NVIDIA driver here" in done.stdout
    assert "; not tensorrt: target tensorrt needs the Python package tensorrt" in done.stdout
    assert (run_folder / "bundle-fp32" / "model.ekw").is_file()


@pytest.mark.parametrize(("arguments", "status", "says"), [
    (["--target", "tensorrt"], 1, "needs the Python package tensorrt, which is not installed. On a Jetson install"),
    (["--target", "tensorrt-rtx", "--sm", "87"], 1, "got 87. Build on the device itself: edgekin compile --target ten"),
    (["--target", "tensorrt-rtx", "--builds", "3"], 1, "no GPU is here to time them on. Leave out --builds"),
    (["--target", "tensorrt-rtx", "--builds", "0"], 1, "--builds is 0, expected 1 to 100"),
    (["--target", "native", "--sm", "86"], 1, "target native builds no plan"),
    (["--target", "tensorrt-rtx", "--sm", "Orin"], 2, "'Orin' is no list of compute capabilities"),
])
def test_what_cannot_be_built_is_one_line_with_the_remedy(edgekin, arguments, status, says):
    if "tensorrt-rtx" in arguments:
        pytest.importorskip("tensorrt_rtx_bindings", reason="needs TensorRT-RTX: pip install 'edgekin[rtx]'")
    assert_refused(edgekin(*arguments), status, says)
