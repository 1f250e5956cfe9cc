"""The CUDA kernels: their source, which the C library carries, and a cubin of it from bundle, cache or compiler."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgekin._ek import ffi, lib
from edgekin.errors import RuntimeFault

#: No contraction: fused multiply-adds are written out, and integer engines give the bits of the specification.
FLAGS = ("-std=c++14", "-O3", "-fmad=false")
#: Orin; H100 and H200; RTX 50. What a bundle carries cubins for unless it is told otherwise.
SMS = (87, 90, 120)
REMEDY = "Install the CUDA toolkit (nvcc in PATH), or compile the bundle where it is: edgekin compile --target cuda"


@dataclass(frozen=True)
class Kernels:
    """Compiled kernels."""

    cubin: bytes
    sm: int
    by: str  # bundle, cache, pycuda or nvcc


def source() -> str:
    """Return the kernels' source, one CUDA file without includes of its own."""
    return str(ffi.string(lib.ek_cuda_source()).decode())


def source_sha256() -> str:
    """Return the hash that says whether compiled kernels are of this source and these flags."""
    return hashlib.sha256("\n".join((*FLAGS, source())).encode()).hexdigest()


def cache_folder() -> Path:
    """Return where compiled kernels are kept: $XDG_CACHE_HOME/edgekin or ~/.cache/edgekin."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekin"


def compile_cubin(sm: int) -> Kernels:
    """Compile the kernels for a GPU: by PyCUDA where it is installed, else by nvcc.

    Args:
        sm: 10 major + minor of the compute capability.

    Raises:
        RuntimeFault: there is no compiler, or it refuses.
    """
    try:
        from pycuda.compiler import compile as pycuda_compile
    except ImportError:
        return Kernels(_nvcc(sm), sm, "nvcc")
    try:
        cubin = pycuda_compile(source(), options=list(FLAGS), no_extern_c=True, arch=f"sm_{sm}")
    except Exception as error:  # its CompileError derives from Exception alone
        raise RuntimeFault(f"PyCUDA cannot compile the kernels for sm_{sm}: {str(error).splitlines()[0]}",
                           REMEDY) from error
    return Kernels(bytes(cubin), sm, "pycuda")


def nvcc_version() -> str:
    """Return nvcc's release, or an empty string where there is none."""
    if shutil.which("nvcc") is None:
        return ""
    done = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=False)
    return next((line.split("release ")[1] for line in done.stdout.splitlines() if "release " in line), "")


def runs_on(nvcc: str, driver: int) -> bool:
    """Tell whether a driver may load a cubin: it must not be older than the compiler's major version.

    Args:
        nvcc: the compiler's release, as nvcc_version gives it.
        driver: version of CUDA that the driver has, 1000 major + 10 minor.

    Source: CUDA Compatibility, "Minor Version Compatibility".
    """
    major = nvcc.partition(".")[0]
    return major.isdigit() and driver // 1000 >= int(major)


def _nvcc(sm: int) -> bytes:
    if shutil.which("nvcc") is None:
        raise RuntimeFault(f"the kernels cannot be compiled for sm_{sm}: neither PyCUDA nor nvcc is installed", REMEDY)
    with tempfile.TemporaryDirectory(prefix="edgekin-nvcc-") as folder:
        path, cubin = Path(folder, "kernels.cu"), Path(folder, "kernels.cubin")
        path.write_text(source(), encoding="utf-8")
        command = ["nvcc", *FLAGS, f"-arch=sm_{sm}", "-cubin", "-o", str(cubin), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
            raise RuntimeFault(f"nvcc cannot compile the kernels for sm_{sm}: {said[0]}", REMEDY)
        return cubin.read_bytes()


def cached_cubin(sm: int) -> Kernels:
    """Return the kernels for a GPU out of the cache, or compile them and keep them there.

    Raises:
        RuntimeFault: as compile_cubin.
    """
    path = cache_folder() / f"kernels-{source_sha256()[:16]}-sm_{sm}.cubin"
    try:
        kept = path.read_bytes()
        if kept[:4] == b"\x7fELF":
            return Kernels(kept, sm, "cache")
    except OSError:
        pass
    kernels = compile_cubin(sm)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(kernels.cubin)
        part.rename(path)
    except OSError:
        pass  # a device whose disk cannot be written to compiles again next time
    return kernels
