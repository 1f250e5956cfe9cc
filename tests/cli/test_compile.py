"""edgekin compile as a user meets it: output, JSON, exit status."""

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
def edgekin(tmp_path):
    """Run the command line in an empty folder with its own runs folder."""
    def call(*arguments, runs=tmp_path / "runs"):
        environment = {**os.environ, "EDGEKIN_RUNS": str(runs), "PYTHONPATH": str(ROOT), "COLUMNS": "200",
                       "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, "-m", "edgekin", "compile", *map(str, arguments)], cwd=tmp_path,
                              env=environment, capture_output=True, text=True, timeout=300, check=False)

    return call


def test_the_latest_run_becomes_a_bundle_with_table_and_json(edgekin, run_folder, tmp_path):
    done = edgekin("--int8", "--force-int8", "--json", tmp_path / "c.json", *QUICK)
    assert done.returncode == 0, done.stderr
    assert str(run_folder / "bundle-int8") in done.stdout
    assert "fp32" in done.stdout
    result = json.loads((tmp_path / "c.json").read_text())
    assert next(iter(result)) == "schema"
    assert result["schema"] == "edgekin.compile/1"
    assert {"revision", "seed", "bundle", "target", "precision", "bytes", "bytes_fp32", "parity"} <= set(result)
    assert set(result["parity"]) == {"psnr_loss_db", "iou_vs_fp32", "max_abs_error"}
    again = edgekin("--int8", *QUICK)
    assert again.returncode == 1
    assert "exists already; nothing was overwritten. Add --force" in again.stderr
    assert len(again.stderr.strip().splitlines()) == 1


def test_a_bundle_with_a_body_model_says_how_its_inspector_is_calibrated(edgekin, body_bundle, run_folder, tmp_path):
    done = edgekin(body_bundle.parent / "runs" / "body", "--fp32", "--out", tmp_path / "b", *QUICK)
    assert done.returncode == 0, done.stderr
    assert f"run: edgekin calibrate-detector {tmp_path / 'b'}" in done.stdout
    assert "calibrate-detector" not in edgekin(run_folder, "--fp32", *QUICK).stdout


def test_a_missed_gate_exits_with_status_3_and_writes_nothing(edgekin, run_folder, spoil, tmp_path):
    spoil()
    done = edgekin("--int8", "--json", tmp_path / "c.json", *QUICK)
    assert done.returncode == 3, done.stderr
    assert "nothing was written" in done.stderr
    assert not (run_folder / "bundle-int8").exists()
    assert not (tmp_path / "c.json").exists()


def test_without_a_run_it_says_how_to_get_one(edgekin):
    pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
    done = edgekin()
    assert done.returncode == 1
    assert done.stderr.strip().endswith("Run: edgekin train")


@pytest.mark.parametrize(("arguments", "status", "says"), [
    (["--fp16"], 1, "edgekin compile --fp16 --target onnx"),
    (["--samples", "8"], 1, "asks for 8 poses, need >= 32"),
    (["--calibration", "absent.yaml"], 1, "absent.yaml cannot be read"),
    (["--target", "abacus"], 2, "abacus"),
    (["--max-psnr-loss", "-1"], 1, "expected 0 dB or more"),
    (["--json", "absent/c.json"], 1, "cannot write absent/c.json"),
    (["no-such-run"], 1, "no-such-run is no run"),
])
def test_bad_input_is_one_line_with_the_remedy(edgekin, arguments, status, says):
    pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
    assert_refused(edgekin(*arguments), status, says)
