"""A driver in the place of libcuda, and versions of TensorRT that are not here."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.compile.tensorrt.emulated import emulate


@pytest.fixture(scope="session")
def libcuda(tmp_path_factory):
    """The path of the stub driver."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt-get install build-essential")
    library = tmp_path_factory.mktemp("stub") / "libcuda.so.1"
    source = Path(__file__).with_name("stub_libcuda.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


@pytest.fixture
def driver(libcuda, monkeypatch, tmp_path):
    """The stub driver in libcuda's place, and a timing cache of the test's own; returns the stub."""
    monkeypatch.setenv("EDGEKIN_LIBCUDA", str(libcuda))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("STUB_SM", raising=False)
    return ctypes.CDLL(str(libcuda))


@pytest.fixture
def tensorrt(monkeypatch):
    """Put an emulated TensorRT where `import tensorrt` finds it."""
    def install(version, **behaviour):
        module = emulate(version, **behaviour)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        return module

    return install
