"""The devices of edgekin/data/devices.yaml, with the sources of their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgekin.config import load_yaml
from edgekin.errors import ConfigError

DEVICES = Path(__file__).resolve().parents[1] / "data" / "devices.yaml"


@dataclass(frozen=True)
class Range:
    """What a number is at best and at worst."""

    best: float
    worst: float


@dataclass(frozen=True)
class Clocks:
    """What a power mode allows."""

    gpu_mhz: float
    memory_mhz: float  # of the memory's clock; two transfers a clock
    cpu_mhz: float = 0.0  # 0: not of this device


@dataclass(frozen=True)
class Assumptions:
    """What nobody publishes; shares are of a roof."""

    kernel_gap_us: Range
    grid_barrier_us: Range
    l2_bytes_a_clock: Range  # of one multiprocessor
    gpu_compute_share: Range
    gpu_memory_share: Range
    cpu_dense_share: Range
    cpu_roof_share: Range


@dataclass(frozen=True)
class Device:
    """One device in one of its power modes."""

    key: str
    name: str
    mode: str
    clocks: Clocks
    sms: int
    l2_bytes: int  # 0: not known
    memory_bits: int
    tensor_macs: dict[str, int]  # precision -> multiply-accumulates a clock and SM, with tensor cores
    cuda_macs: dict[str, int]  # the same without
    cpu_macs: dict[str, int]  # precision -> multiply-accumulates a clock of one core; empty: not of this device
    cpu_read_gb_s: Range
    host_us: Range
    sources: dict[str, str]

    @property
    def memory_gb_s(self) -> float:
        """10^9 bytes a second between GPU and memory."""
        return self.clocks.memory_mhz * 2e6 * self.memory_bits / 8 / 1e9

    def gpu_gmacs(self, precision: str, tensor_cores: bool) -> float:
        """Return 10^9 multiply-accumulates a second of the whole GPU."""
        table = self.tensor_macs if tensor_cores else self.cuda_macs
        return table[precision] * self.sms * self.clocks.gpu_mhz / 1e3

    def cpu_gmacs(self, precision: str) -> float:
        """Return 10^9 multiply-accumulates a second of one core."""
        return self.cpu_macs[precision] * self.clocks.cpu_mhz / 1e3


@lru_cache(maxsize=1)
def _content() -> dict[str, Any]:
    return load_yaml(DEVICES)


def load_devices() -> dict[str, list[str]]:
    """Return the devices that are known and their power modes, the fastest last."""
    return {key: list(entry["modes"]) for key, entry in _content()["devices"].items()}


@lru_cache(maxsize=1)
def load_assumptions() -> Assumptions:
    """Return what is assumed."""
    entries = {key: value for key, value in _content()["assumptions"].items() if key != "source"}
    return Assumptions(**{key: Range(*map(float, value)) for key, value in entries.items()})


def load_device(key: str, mode: str = "", clocks: dict[str, float] | None = None) -> Device:
    """Return a device in a power mode.

    Args:
        key: a key of `load_devices()`.
        mode: one of its power modes; empty: the fastest.
        clocks: field of Clocks -> what it is instead.

    Raises:
        ConfigError: no such device or mode, or a clock that is not positive.
    """
    content = _content()
    if key not in content["devices"]:
        raise ConfigError(f"device {key!r} is unknown", f"Use one of {', '.join(content['devices'])}")
    entry = content["devices"][key]
    mode = mode or list(entry["modes"])[-1]
    if mode not in entry["modes"]:
        raise ConfigError(f"power mode {mode!r} of {key} is unknown",
                          f"Use one of {', '.join(entry['modes'])}, or give the clocks")
    values = {name: float(value) for name, value in {**entry["modes"][mode], **(clocks or {})}.items()}
    for name, value in values.items():
        if not 1 <= value <= 1e5:
            raise ConfigError(f"{name} is {value:g}, expected 1 to 100000", "Correct it")
    none: dict[str, Any] = {"macs": {}, "read_gb_s": [0, 0], "source": "none"}
    gpu, cpu = content["gpus"][entry["gpu"]], content["cpus"][entry["cpu"]] if entry["cpu"] else none
    return Device(
        key, entry["name"], mode + (" with other clocks" if clocks else ""), Clocks(**values), entry["sms"],
        int((entry["l2_mb"] or 0) * 2**20), entry["memory_bits"], gpu["tensor"], gpu["cuda"], cpu["macs"],
        Range(*map(float, cpu["read_gb_s"])), Range(*map(float, entry["host_us"])),
        {"device": entry["source"], "gpu": gpu["source"], "cpu": cpu["source"],
         "assumptions": content["assumptions"]["source"]})
