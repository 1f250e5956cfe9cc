"""The clocks before and after a run, and what throttled between: without them two latencies cannot be compared.

Read before the loop records and after it ended: to ask a CPU for its clock can interrupt it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EMC_RATE = "sys/kernel/debug/bpmp/debug/clk/emc/rate"
DEVFREQ = "sys/class/devfreq"
#: Reasons of NVML that hold a GPU back; the others are an idle GPU, or clocks that somebody set. Source: nvml.h.
NVML_THROTTLES = {0x4: "power cap", 0x8: "slowdown", 0x20: "thermal (software)", 0x40: "thermal (hardware)",
                  0x80: "power brake"}


@dataclass(frozen=True)
class Clocks:
    """The clocks of one moment, MHz; None: not told."""

    cpu_mhz: float | None  # of the loop's CPU
    gpu_mhz: float | None
    memory_mhz: float | None


@dataclass(frozen=True)
class ClockReport:
    """The clocks around a run."""

    cpu: int  # whose clock it is
    before: Clocks
    after: Clocks
    governor: str | None
    locked: bool | None  # least and largest clock of that CPU are the same; None: not told
    throttle_events: int | None  # of CPU and board during the run; None: nothing counts them
    throttled_by: tuple[str, ...]  # what counted, or holds back now
    temperature_c: float | None  # the hottest zone afterwards
    why_not: dict[str, str]  # field -> why it is None

    def to_json(self) -> dict[str, Any]:
        """Return all of it, JSON-ready."""
        return {**asdict(self), "throttled_by": list(self.throttled_by)}


class ClockWatch:
    """Reads the clocks at both ends of a run.

    Args:
        cpu: the loop's; -1: it is not pinned, CPU 0 is asked.
        root: of the file system.
    """

    def __init__(self, cpu: int, root: Path = Path("/")) -> None:
        self._cpu, self._root = max(cpu, 0), root
        self._before, self._events = Clocks(None, None, None), self._counters()

    def begin(self) -> None:
        """Read the clocks, while the loop warms up."""
        self._before, self._events = self._clocks(), self._counters()

    def end(self) -> ClockReport:
        """Read them again and return both."""
        after, events = self._clocks(), self._counters()
        counted = {name: events[name] - self._events[name] for name in events if name in self._events}
        holding = sorted({*(name for name, n in counted.items() if n > 0), *self._cooling(), *_nvml_reasons()})
        least, most = self._cpufreq("scaling_min_freq"), self._cpufreq("scaling_max_freq")
        zones = [_number(zone) for zone in self._root.glob("sys/class/thermal/thermal_zone*/temp")]
        temperature = max((value / 1e3 for value in zones if value is not None), default=None)
        report = ClockReport(
            self._cpu, self._before, after, _text(self._folder() / "scaling_governor"),
            None if least is None or most is None else least == most,
            sum(counted.values()) if counted else None, tuple(holding), temperature, {})
        return self._reasons(report)

    def _reasons(self, report: ClockReport) -> ClockReport:
        why = {"cpu_mhz": (report.after.cpu_mhz, "neither cpufreq nor /proc/cpuinfo tells it"),
               "gpu_mhz": (report.after.gpu_mhz, "neither a Jetson's devfreq nor NVML tells it"),
               "memory_mhz": (report.after.memory_mhz, "neither NVML nor debugfs (root alone) tells it"),
               "governor": (report.governor, "no cpufreq: a virtual machine's clock is its host's"),
               "locked": (report.locked, "no cpufreq: a virtual machine's clock is its host's"),
               "throttle_events": (report.throttle_events, "no thermal_throttle (Intel) and no oc*_event_cnt (Jetson)"),
               "temperature_c": (report.temperature_c, "no thermal zone")}
        for name, (value, reason) in why.items():
            if value is None:
                report.why_not[name] = reason
        return report

    def _folder(self) -> Path:
        return self._root / f"sys/devices/system/cpu/cpu{self._cpu}/cpufreq"

    def _cpufreq(self, name: str) -> float | None:
        return _number(self._folder() / name)

    def _clocks(self) -> Clocks:
        khz = self._cpufreq("scaling_cur_freq")
        gpu_mhz, memory_mhz = _nvml_clocks()
        for name in ("*.gpu", "*.ga10b"):
            for folder in self._root.glob(f"{DEVFREQ}/{name}"):
                hz = _number(folder / "cur_freq")
                gpu_mhz = gpu_mhz if hz is None else hz / 1e6
        emc = _number(self._root / EMC_RATE)
        return Clocks(self._cpuinfo_mhz() if khz is None else khz / 1e3, gpu_mhz,
                      memory_mhz if emc is None else emc / 1e6)

    def _cpuinfo_mhz(self) -> float | None:
        """Of the loop's CPU, as the kernel or its host says."""
        current = -1
        for line in (_text(self._root / "proc/cpuinfo") or "").splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            if key == "processor":
                current = int(value)
            elif key == "cpu MHz" and current == self._cpu:
                return float(value)
        return None

    def _counters(self) -> dict[str, int]:
        """Events since boot: of the loop's CPU and its package (Intel), of the board's supply (Jetson)."""
        folder = self._root / f"sys/devices/system/cpu/cpu{self._cpu}/thermal_throttle"
        files = {**{f"CPU {name}": folder / f"{name}_throttle_count" for name in ("core", "package")},
                 **{f"over-current {path.name[:3]}": path
                    for path in self._root.glob("sys/class/hwmon/hwmon*/oc[0-9]_event_cnt")}}
        found = {name: _number(path) for name, path in files.items()}
        return {name: int(value) for name, value in found.items() if value is not None}

    def _cooling(self) -> list[str]:
        """What is cooling by slowing down, of a Jetson's devices: fans cool otherwise."""
        if not (self._root / "etc/nv_tegra_release").exists():
            return []
        found = []
        for folder in self._root.glob("sys/class/thermal/cooling_device*"):
            kind = _text(folder / "type") or ""
            if "fan" not in kind and (_number(folder / "cur_state") or 0) > 0:
                found.append(f"cooling by {kind}")
        return found


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None


def _nvml() -> Any:
    """NVML with the first GPU's handle, or None."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
    except ImportError:
        return None
    except pynvml.NVMLError:
        return None


def _nvml_clocks() -> tuple[float | None, float | None]:
    found = _nvml()
    if found is None:
        return None, None
    nvml, gpu = found
    return (float(nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)),
            float(nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM)))


def _nvml_reasons() -> list[str]:
    found = _nvml()
    if found is None:
        return []
    nvml, gpu = found
    reasons = int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu))
    return [f"GPU {text}" for bit, text in NVML_THROTTLES.items() if reasons & bit]
