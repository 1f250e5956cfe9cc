"""The kernels of processors that this machine is not: cross-compiled, and run under user-mode emulation."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
SYSROOT = "/usr/aarch64-linux-gnu"
#: With and without the dot product instruction.
CPUS = ("cortex-a53", "max")
NETWORKS = 80


@pytest.fixture(scope="module")
def aarch64_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for tool in ("aarch64-linux-gnu-gcc", "qemu-aarch64"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: {PACKAGES}")
    build = tmp_path_factory.mktemp("aarch64")
    tests = [str(build / f"test_{name}") for name in ("kernels", "fuzz")]
    make = ["make", "-s", "-C", str(ROOT / "engines"), "CC=aarch64-linux-gnu-gcc", "AR=aarch64-linux-gnu-ar"]
    done = subprocess.run([*make, f"BUILD={build}", *tests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    return build


def _emulate(cpu: str, *command: str) -> str:
    done = subprocess.run(["qemu-aarch64", "-L", SYSROOT, "-cpu", cpu, *command], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_avx512_kernels_give_the_bits_of_the_scalar_ones(tmp_path: Path):
    if platform.machine() != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("needs an x86-64 machine with AVX2 and gcc: apt-get install build-essential")
    make = ["make", "-s", "-C", str(ROOT / "engines"), f"BUILD={tmp_path}", "CPPFLAGS=-DEK_EMULATE_AVX512 -I../tests/c"]
    done = subprocess.run([*make, str(tmp_path / "test_kernels")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([tmp_path / "test_kernels", str(NETWORKS), "avx512"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    assert "avx512 kernels: ok" in done.stdout


@pytest.mark.parametrize("cpu", CPUS)
def test_neon_kernels_give_the_bits_of_the_scalar_ones(aarch64_build: Path, cpu: str):
    assert "neon kernels: ok" in _emulate(cpu, str(aarch64_build / "test_kernels"), str(NETWORKS), "neon")


def test_damaged_weight_files_are_refused_or_run_on_aarch64(aarch64_build: Path):
    assert "fuzz: ok" in _emulate("max", str(aarch64_build / "test_fuzz"), "500")
