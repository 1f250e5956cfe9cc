"""Target cuda: what its bundles hold, that they run on a GPU (the host driver's) and a CPU, and what is refused."""

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
pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
from edgekin.bundle import KERNELS, KERNELS_SOURCE, load_bundle
from edgekin.compile.auto import choose
from edgekin.compile.cuda import CudaTarget
from edgekin.compile.half import maps_fp16
from edgekin.compile.tensorrt.maker import PlanOptions
from edgekin.compile.weights import write_weights
from edgekin.errors import BundleError, ConfigError, RuntimeFault
from edgekin.models.reference import maps
from edgekin.opening import open_bundle
from edgekin.runtime.cuda import CudaEngine, CudaOptions
from edgekin.runtime.cuda_kernels import cached_cubin, compile_cubin, source
from tests.parity.graphs import decoder

ROOT = Path(__file__).resolve().parents[2]
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is missing: install the CUDA toolkit")


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def run_cli(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "edgekin", *map(str, args)], capture_output=True, text=True,
                          check=False, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def compiled(trained_runs, tmp_path_factory):
    """An INT8 bundle with a cubin for Orin where there is a compiler, and what the command said."""
    out = tmp_path_factory.mktemp("cuda") / "bundle"
    done = run_cli("compile", trained_runs / "tiny", "--target", "cuda", "--sm", "87", "--samples", 40,
                   "--healthy-seconds", 3, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


@pytest.fixture(scope="module")
def bundle(compiled):
    return compiled[0]


def on_host(driver, **options) -> CudaOptions:
    return CudaOptions(library=driver.path, blocks=2, threads=64, **options)


@needs_nvcc
def test_a_bundle_carries_weights_source_and_the_cubins_that_were_asked_for(compiled):
    bundle, said = compiled
    assert "kernels: source, compiled for SM 87" in said
    loaded = load_bundle(bundle)
    assert (loaded.target, loaded.precision) == ("cuda", "int8")
    kernels = json.loads(loaded.read(KERNELS))
    assert kernels["cubins"] == ["kernels.sm_87.cubin"]
    assert kernels["arithmetic"] == "int8"
    assert "-fmad=false" in kernels["flags"]
    assert loaded.read("kernels.sm_87.cubin")[:4] == b"\x7fELF"
    assert loaded.read(KERNELS_SOURCE).decode() == source()
    assert "INT8 is kept for its size" in loaded.manifest["note"]


@needs_nvcc
def test_bench_runs_the_bundle_in_the_loop_and_says_what_the_gpu_does(bundle, host_driver, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIN_LIBCUDA", host_driver.path)
    done = run_cli("bench", bundle, "--hz", 20, "--seconds", 0.5, "--io", "copy", "--sync", "block", "--fifo", 0,
                   "--json", tmp_path / "bench.json")
    assert done.returncode == 0, done.stderr
    assert "GPU: this processor, sm_87; launches a tick: 1 of 4 x 256 threads, replayed as a graph" in done.stdout
    assert "io copy, sync block" in done.stdout
    result = json.loads((tmp_path / "bench.json").read_text())
    assert (result["bundle"]["isa"], result["gpu"]["graph"], result["gpu"]["io"]) == ("cuda", True, "copy")
    assert result["frames"] > 0


@needs_nvcc
def test_the_bundle_gives_its_known_answers_and_the_same_scores_on_gpu_and_cpu(bundle, host_driver):
    loaded = load_bundle(bundle)
    rng = np.random.default_rng(1)
    with loaded.open_cuda(on_host(host_driver)) as gpu, loaded.open_engine() as cpu:
        assert (gpu.info.isa, gpu.info.precision) == ("cuda", "int8")
        for joints in rng.uniform(-1, 1, (3, gpu.info.n_joints)):
            packed = np.packbits(rng.random(gpu.shape) < 0.2, axis=-1)
            gpu.run(joints)
            cpu.run(joints)
            assert gpu.score(packed) == cpu.score(packed)


def test_without_a_gpu_or_its_driver_there_is_one_line_and_a_remedy(bundle, monkeypatch):
    monkeypatch.setenv("EDGEKIN_LIBCUDA", "libcuda-that-is-not-there.so")
    with pytest.raises(RuntimeFault, match="no NVIDIA driver") as caught:
        open_bundle(load_bundle(bundle))
    assert "--engine native" in caught.value.hint
    done = run_cli("bench", bundle, "--seconds", 0.2)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("edgekin: no GPU can be used: no NVIDIA driver")
    assert "Traceback" not in done.stderr


def test_a_gpu_without_a_cubin_needs_a_compiler_and_says_so(bundle, host_driver, monkeypatch):
    host_driver.attribute(75, 7)
    host_driver.attribute(76, 5)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeFault, match="cannot be compiled for sm_75: neither PyCUDA nor nvcc") as caught:
        load_bundle(bundle).open_cuda(on_host(host_driver))
    assert "CUDA toolkit" in caught.value.hint


@needs_nvcc
def test_a_driver_older_than_the_compiler_gets_kernels_made_on_the_device(bundle, host_driver, tmp_path, monkeypatch):
    major = int(json.loads((bundle / KERNELS).read_text())["nvcc"].split(".")[0])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    host_driver.attribute("driver", 1000 * major)
    load_bundle(bundle).open_cuda(on_host(host_driver)).close()
    host_driver.attribute("driver", 1000 * major - 400)
    with pytest.raises(RuntimeFault, match="cannot be compiled for sm_87"):
        load_bundle(bundle).open_cuda(on_host(host_driver))


def test_other_targets_are_not_run_by_our_kernels(bundle, tmp_path):
    folder = shutil.copytree(bundle, tmp_path / "other")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["target"] = "onnx"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="onnx"):
        load_bundle(folder).open_cuda()


@needs_nvcc
def test_compiled_kernels_are_kept_and_a_damaged_copy_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = cached_cubin(87)
    assert (first.by, cached_cubin(87).by) == ("nvcc", "cache")
    assert cached_cubin(87).cubin == first.cubin
    (kept,) = (tmp_path / "edgekin").iterdir()
    kept.write_bytes(b"")
    assert cached_cubin(87).by == "nvcc"
    with pytest.raises(RuntimeFault, match="nvcc cannot compile the kernels for sm_1"):
        compile_cubin(1)


@pytest.mark.parametrize("seed", range(5))
def test_half_precision_is_that_of_its_twin(host_driver, seed):
    rng = np.random.default_rng(seed)
    graph = decoder(rng)
    q = rng.uniform(-2, 2, (4, 3))
    twin, full = maps_fp16(graph, q), maps(graph, q)
    with CudaEngine(write_weights(graph), b"\x7fELF", "fp16", on_host(host_driver)) as engine:
        got = engine.predict(q)
    # The twin rounds where the kernels do: what is left is a last bit of half here and there, and what it becomes.
    assert np.abs(got - twin).max() <= 4e-3 * np.abs(full).max()
    assert 0 < np.abs(got - full).max() <= 1e-2 * np.abs(full).max()


@needs_nvcc
def test_auto_takes_our_kernels_where_there_is_a_gpu(host_driver, trained_runs, monkeypatch):
    from edgekin.training.run import load_run

    monkeypatch.setenv("EDGEKIN_LIBCUDA", host_driver.path)
    run = load_run(trained_runs / "tiny")
    for precision in ("int8", "fp16"):
        assert choose(run, precision) == ("cuda", "target cuda, the best that is there")
    host_driver.fail("cuInit", 100)
    target, why = choose(run, "int8")
    assert target == "native"
    assert "not cuda: the NVIDIA driver refused cuInit" in why


def test_what_the_target_cannot_do_is_refused():
    with pytest.raises(ConfigError, match="compiled, not chosen by time"):
        CudaTarget(PlanOptions(builds=2))
