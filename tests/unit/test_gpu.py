"""What GPU is here: asked of a driver, which a stub stands for, and what is said where there is none."""

import pytest

from edgekin import gpu
from edgekin.errors import RuntimeFault
from tests.unit.compile.tensorrt.conftest import driver, libcuda  # noqa: F401 - fixtures


@pytest.mark.usefixtures("driver")
def test_the_driver_tells_name_capability_and_version(monkeypatch, tmp_path):
    status = tmp_path / "status"
    monkeypatch.setattr(gpu, "NVPMODEL", status)
    assert gpu.gpu() == gpu.Gpu("Stub GPU", 87, 13000, "")
    status.write_text("pmode:0008 fmode:quiet\n")
    monkeypatch.setenv("STUB_SM", "121")
    assert gpu.gpu() == gpu.Gpu("Stub GPU", 121, 13000, "8")
    assert gpu.why_no_gpu() == ""


@pytest.mark.usefixtures("driver")
def test_a_driver_without_a_gpu_says_so(monkeypatch):
    monkeypatch.setenv("STUB_GPUS", "0")
    assert gpu.why_no_gpu() == "the NVIDIA driver shows no GPU"
    monkeypatch.setenv("STUB_INIT", "100")
    with pytest.raises(RuntimeFault, match=r"refused cuInit: no CUDA-capable device is detected \(100\)"):
        gpu.gpu()


def test_a_machine_without_the_driver_says_so(monkeypatch):
    monkeypatch.setenv("EDGEKIN_LIBCUDA", "libcuda-that-is-not-there.so")
    assert gpu.why_no_gpu() == "no NVIDIA driver here: libcuda-that-is-not-there.so cannot be loaded"
