"""What GPU is here: asked of a driver, which a stub stands for, and what is said where there is none."""

import pytest

from edgekin import gpu
from edgekin.errors import RuntimeFault
from tests.unit.compile.tensorrt.conftest import driver  # noqa: F401 - a fixture


def test_the_driver_tells_name_capability_and_version(driver, monkeypatch, tmp_path):  # noqa: F811
    status = tmp_path / "status"
    monkeypatch.setattr(gpu, "NVPMODEL", status)
    assert gpu.gpu() == gpu.Gpu("this processor", 87, 13000, "")
    status.write_text("pmode:0008 fmode:quiet\n")
    driver.attribute(75, 12)
    driver.attribute(76, 1)
    assert gpu.gpu() == gpu.Gpu("this processor", 121, 13000, "8")
    assert gpu.why_no_gpu() == ""


def test_a_driver_without_a_gpu_says_so(driver):  # noqa: F811
    driver.attribute("gpus", 0)
    assert gpu.why_no_gpu() == "the NVIDIA driver shows no GPU"
    driver.fail("cuInit", 100)
    with pytest.raises(RuntimeFault, match=r"refused cuInit: as the test asked \(100\)"):
        gpu.gpu()


def test_a_machine_without_the_driver_says_so(monkeypatch):
    monkeypatch.setenv("EDGEKIN_LIBCUDA", "libcuda-that-is-not-there.so")
    assert gpu.why_no_gpu() == "no NVIDIA driver here: libcuda-that-is-not-there.so cannot be loaded"
