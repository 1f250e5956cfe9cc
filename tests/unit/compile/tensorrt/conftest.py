"""A driver in the place of libcuda, and versions of TensorRT that are not here."""

import sys

import pytest

from tests.unit.compile.tensorrt.emulated import emulate


@pytest.fixture
def driver(host_driver, monkeypatch, tmp_path):
    """The host driver in libcuda's place, and a timing cache of the test's own."""
    monkeypatch.setenv("EDGEKIN_LIBCUDA", host_driver.path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return host_driver


@pytest.fixture
def tensorrt(monkeypatch):
    """Put an emulated TensorRT where `import tensorrt` finds it."""
    def install(version, **behaviour):
        module = emulate(version, **behaviour)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        return module

    return install
