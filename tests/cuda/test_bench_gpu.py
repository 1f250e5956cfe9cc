"""benchmarks/bench_gpu.py up to the missing GPU: one line without a driver, and every step of it on the host driver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("edgekin._ek", reason="build it: python setup.py build_ext --inplace")
torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "bench_gpu.py"


def bench(library: str, cache: Path, *options: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "EDGEKIN_LIBCUDA": library, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False, env=env)


def test_without_a_driver_there_is_one_line(tmp_path):
    done = bench("libcuda-that-is-not-there.so", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("bench_gpu: no GPU can be used: no NVIDIA driver")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is missing: install the CUDA toolkit")
def test_everything_of_ours_runs_and_what_cannot_is_named(host_driver, tmp_path):
    out = tmp_path / "gpu.json"
    done = bench(host_driver.path, tmp_path, "--networks", "tiny", "--seconds", "0.1", "--ticks", "2", "--warm", "1",
                 "--loop-seconds", "0.5", "--json", str(out))
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert next(iter(result)) == "schema"
    assert (result["schema"], result["gpu"]["name"]) == ("edgekin.gpu/1", "this processor")
    (net,) = result["networks"]
    ours = {e["precision"]: e for e in net["engines"] if e["name"] == "edgekin"}
    assert ours["int8"]["parity"]["same_bits"]
    assert ours["fp32"]["parity"]["largest_error"] < 5e-5
    assert ours["fp16"]["parity"]["largest_error"] < 4e-3
    assert all(e["in_c_us"]["n"] == 2 and e["gpu"]["graph"] for e in ours.values())
    assert [(run["precision"], run["hz"]) for run in net["loops"]] == [
        ("int8", 1000.0), ("int8", 10000.0), ("fp16", 1000.0), ("fp16", 10000.0)]
    assert all(run["frames"] > 0 for run in net["loops"])
    if not torch.cuda.is_available():
        assert net["not_run"]["torch-graph_fp16"] == "RuntimeError: torch sees no GPU"


def test_the_torch_peers_compute_what_ours_does(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from bench_gpu import network
    from gpu_peers import TorchFrame

    from edgekin.runtime.engine import Engine

    net = network("tiny", 3)
    whole = TorchFrame(net, "fp32", device="cpu")
    opened = whole.opened(whole.step)
    with Engine(net.blobs["fp32"], "scalar") as engine:
        for i in range(3):
            engine.run(net.poses[i])
            score, blocks = engine.score(net.packed[i]), engine.blocks()
            np.testing.assert_allclose(opened.logits(i), engine.logits(), atol=1e-4)
            nll, squared, hit, either, *each = whole.out.numpy()
            assert (nll, squared) == pytest.approx((score.nll, score.squared_err), rel=1e-4)
            assert (hit, either) == (score.intersection, score.union)
            # The mean over a tile's pixels, of which those at the edge have fewer.
            inside = blocks["nll"][0, :12, :12] / 64
            np.testing.assert_allclose(np.array(each).reshape(13, 13)[:12, :12], inside, rtol=1e-4)
