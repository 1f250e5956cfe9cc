"""A GPU that is this processor: tests/cuda/host_driver.cc, which runs what is launched where it is launched."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests" / "cuda" / "host_driver.cc"
FLAGS = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-ffp-contract=off",
         "-U_FORTIFY_SOURCE", "-fPIC", "-shared", f"-I{ROOT / 'engines'}"]


class HostDriver:
    """A libcuda that runs on this processor: its path, its log of calls, and the failures it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._library = ctypes.CDLL(self.path)
        self._library.host_calls.restype = ctypes.c_char_p

    def calls(self) -> list[str]:
        """The driver's functions in the order in which they were called."""
        return self._library.host_calls().decode().split()

    def reset(self) -> None:
        self._library.host_reset()

    def fail(self, name: str, error: int) -> None:
        """Make a function fail; "kernel": launches are accepted and do nothing."""
        self._library.host_fail(name.encode(), error)

    def attribute(self, number: int | str, value: int) -> None:
        """Give one of CU_DEVICE_ATTRIBUTE_* another value; "driver": the version of the driver's CUDA."""
        self._library.host_attribute(str(number).encode(), value)

    def has_context(self) -> bool:
        """Whether the calling thread has a context that is current."""
        context = ctypes.c_void_p()
        self._library.cuCtxGetCurrent(ctypes.byref(context))
        return bool(context)

    def order(self, which: int) -> None:
        """In which threads are asked: 0 forwards, 1 backwards, else the seed of a shuffle."""
        self._library.host_order(which)

    def owned(self) -> int:
        """Allocations, modules, streams, graphs and contexts that were not given back."""
        return int(self._library.host_owned())


def build(folder: Path) -> HostDriver:
    """Compile the driver into a folder."""
    path = folder / "libcuda_on_host.so"
    done = subprocess.run(["g++", *FLAGS, "-o", path, SOURCE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return HostDriver(path)
