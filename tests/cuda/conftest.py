"""The GPU of these tests is this processor: host_driver.cc, which runs the kernels' own text thread by thread."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
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

    def order(self, which: int) -> None:
        """In which threads are asked: 0 forwards, 1 backwards, else the seed of a shuffle."""
        self._library.host_order(which)

    def owned(self) -> int:
        """Allocations, modules, streams, graphs and contexts that were not given back."""
        return int(self._library.host_owned())


@pytest.fixture(scope="session")
def host_library(tmp_path_factory: pytest.TempPathFactory) -> HostDriver:
    if shutil.which("g++") is None:
        pytest.skip("g++ is missing: apt-get install build-essential")
    path = tmp_path_factory.mktemp("cuda") / "libcuda_on_host.so"
    source = Path(__file__).with_name("host_driver.cc")
    done = subprocess.run(["g++", *FLAGS, "-o", path, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return HostDriver(path)


@pytest.fixture
def host_driver(host_library: HostDriver) -> Iterator[HostDriver]:
    host_library.reset()
    yield host_library
    host_library.reset()
