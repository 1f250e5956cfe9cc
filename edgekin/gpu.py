"""What NVIDIA GPU is here: asked of the driver alone, so that no CUDA package is needed to know."""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

from edgekin.errors import EdgekinError, RuntimeFault

#: The driver's library; EDGEKIN_LIBCUDA names another.
LIBCUDA = "libcuda.so.1"
#: cuDeviceGetAttribute (cuda.h): compute capability.
_MAJOR, _MINOR = 75, 76
#: Where a Jetson keeps its power mode.
NVPMODEL = Path("/var/lib/nvpmodel/status")


@dataclass(frozen=True)
class Gpu:
    """The first GPU that the driver shows."""

    name: str
    sm: int  # compute capability, major * 10 + minor
    cuda: int  # the newest CUDA that the driver serves, major * 1000 + minor * 10
    power_mode: str  # nvpmodel's number on a Jetson, empty elsewhere


class Driver:
    """libcuda; every call's status becomes an error."""

    def __init__(self) -> None:
        name = os.environ.get("EDGEKIN_LIBCUDA") or LIBCUDA
        try:
            self._library = ctypes.CDLL(name)
        except OSError as error:
            raise RuntimeFault(f"no NVIDIA driver here: {name} cannot be loaded",
                               "Install the driver, or run this on the machine with the GPU") from error
        self("cuInit", 0)

    def __call__(self, function: str, *arguments: object) -> None:
        """Call a function of the driver; raises RuntimeFault unless it returns 0."""
        status = getattr(self._library, function)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(status, ctypes.byref(text))
            said = text.value.decode() if text.value else "unknown error"
            raise RuntimeFault(f"the NVIDIA driver refused {function}: {said} ({status})",
                               "See what nvidia-smi says; a driver older than its CUDA has to be updated")


def _integer(driver: Driver, function: str, *arguments: object) -> int:
    value = ctypes.c_int()
    driver(function, ctypes.byref(value), *arguments)
    return value.value


def power_mode() -> str:
    """Return nvpmodel's number of the power mode, without leading zeros; empty where there is none."""
    try:
        found = re.search(r"pmode:0*(\d+)", NVPMODEL.read_text())
    except OSError:
        return ""
    return found[1] if found else ""


def gpu() -> Gpu:
    """Return the first GPU; raises RuntimeFault, which says why, where there is none."""
    driver = Driver()
    if _integer(driver, "cuDeviceGetCount") == 0:
        raise RuntimeFault("the NVIDIA driver shows no GPU", "See what nvidia-smi says")
    name = ctypes.create_string_buffer(128)
    driver("cuDeviceGetName", name, len(name), 0)
    major, minor = (_integer(driver, "cuDeviceGetAttribute", attribute, 0) for attribute in (_MAJOR, _MINOR))
    return Gpu(name.value.decode(), 10 * major + minor, _integer(driver, "cuDriverGetVersion"), power_mode())


def why_no_gpu() -> str:
    """Say in a clause why no GPU can be used; empty where one can."""
    try:
        gpu()
    except EdgekinError as error:
        return error.message
    return ""
