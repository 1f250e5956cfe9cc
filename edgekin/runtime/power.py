"""What a run costs in energy: counters and sensors read by the thread that watches the loop, never by the loop's own.

Sources: RAPL (x86), INA3221 sensors through jetson-stats or from sysfs (Jetson), NVML (discrete NVIDIA GPUs). One that
is not there is named with the reason.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
POWERCAP = "sys/class/powercap"
INA3221 = "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*"
#: Rails that carry all of a module; boards without one have several that add up. Source: Jetson Linux Developer Guide.
WHOLE_RAILS = ("VDD_IN", "VIN", "POM_5V_IN")


class EnergySource(Protocol):
    """Something that tells joules between two moments."""

    name: str  # "RAPL package-0"
    scope: str  # cpu | gpu | board: what the joules are of

    def begin(self) -> None:
        """Start counting."""

    def sample(self) -> None:
        """Look, some times a second: counters wrap, and sensors tell watts of the moment."""

    def end(self) -> float:
        """Return the joules since begin."""


@dataclass(frozen=True)
class Energy:
    """What one source counted."""

    source: str
    scope: str
    joules: float
    mean_w: float


@dataclass(frozen=True)
class PowerReport:
    """The energy of a run; everything that ran on the same CPUs, GPU or board is in it, the simulated arm, too."""

    seconds: float
    energies: tuple[Energy, ...]
    why_not: dict[str, str]  # source -> why there is nothing of it

    @property
    def mean_w(self) -> float | None:
        """Of the board where it tells, else of CPU and GPU together; None where nothing tells."""
        board = [e.mean_w for e in self.energies if e.scope == "board"]
        parts = [e.mean_w for e in self.energies if e.scope != "board"]
        return board[0] if board else sum(parts) if parts else None

    def to_json(self, ticks: int, seconds: float) -> dict[str, Any]:
        """Return the energies, and what one tick took.

        Args:
            ticks: of the run.
            seconds: that these ticks took.
        """
        mean_w = self.mean_w
        per_tick = None if mean_w is None or not ticks else 1e3 * mean_w * seconds / ticks
        return {"energy_per_tick_mj": per_tick, "mean_w": mean_w, "why_not": self.why_not,
                "sources": [{"source": e.source, "scope": e.scope, "joules": e.joules, "mean_w": e.mean_w}
                            for e in self.energies]}


class Rapl:
    """Energy counters of the CPU packages. Source: kernel.org, power/powercap/powercap.rst."""

    scope = "cpu"

    def __init__(self, packages: list[Path]) -> None:
        self.name = "RAPL " + ", ".join((package / "name").read_text().strip() for package in packages)
        self._counters = [package / "energy_uj" for package in packages]
        self._ranges = [int((package / "max_energy_range_uj").read_text()) for package in packages]
        self._last = [int(counter.read_text()) for counter in self._counters]
        self._total_uj = 0

    def begin(self) -> None:
        """Start counting."""
        self.sample()
        self._total_uj = 0

    def sample(self) -> None:
        """Add what was used since; a counter that fell went once around."""
        for i, counter in enumerate(self._counters):
            now = int(counter.read_text())
            self._total_uj += now - self._last[i] + (self._ranges[i] if now < self._last[i] else 0)
            self._last[i] = now

    def end(self) -> float:
        """Return the joules since begin."""
        self.sample()
        return self._total_uj / 1e6


class _Watts(ABC):
    """A sensor of watts, integrated by the trapezoidal rule."""

    scope = "board"

    def __init__(self) -> None:
        self._last_ns, self._last_w, self._joules = 0, 0.0, 0.0

    @abstractmethod
    def watts(self) -> float:
        """Return the watts of now."""

    def begin(self) -> None:
        """Start counting."""
        self._last_ns, self._last_w, self._joules = time.monotonic_ns(), self.watts(), 0.0

    def sample(self) -> None:
        """Add the time since the last look at the mean of then and now."""
        now_ns, now_w = time.monotonic_ns(), self.watts()
        self._joules += (now_ns - self._last_ns) / 1e9 * (now_w + self._last_w) / 2
        self._last_ns, self._last_w = now_ns, now_w

    def end(self) -> float:
        """Return the joules since begin."""
        self.sample()
        return self._joules


class Ina3221(_Watts):
    """The power monitors of a Jetson, from sysfs.

    Args:
        rails: (label, folder, channel) of every rail.
    """

    def __init__(self, rails: list[tuple[str, Path, str]]) -> None:
        super().__init__()
        whole = [rail for rail in rails if rail[0] in WHOLE_RAILS]
        self._rails = whole[:1] or rails
        self.name = "INA3221 " + " + ".join(label for label, _, _ in self._rails)

    def watts(self) -> float:
        """Return volts times amperes of the rails."""
        return sum(int((folder / f"in{channel}_input").read_text()) * int((folder / f"curr{channel}_input").read_text())
                   for _, folder, channel in self._rails) / 1e6


class Jtop(_Watts):
    """The same through jetson-stats, which knows more boards; its service has to run."""

    name = "jetson-stats"

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = client

    def watts(self) -> float:
        """Return the board's power as jetson-stats totals it."""
        return float(self._client.power["tot"]["power"]) / 1e3

    def end(self) -> float:
        """Return the joules since begin, and hang up."""
        joules = super().end()
        self._client.close()
        return joules


class Nvml:
    """The energy counter of one NVIDIA GPU. Source: NVML API reference, since Volta."""

    scope = "gpu"

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByIndex(0)
        name = nvml.nvmlDeviceGetName(self._handle)
        self.name = f"NVML {name.decode() if isinstance(name, bytes) else name}"
        self._begin_mj = int(nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def begin(self) -> None:
        """Start counting."""
        self._begin_mj = int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def sample(self) -> None:
        """Nothing: the counter is of 64 bits."""

    def end(self) -> float:
        """Return the joules since begin."""
        return (int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) - self._begin_mj) / 1e3


def open_rapl(root: Path) -> EnergySource | str:
    """Return the CPU packages' counters, or why there are none."""
    folder = root / POWERCAP
    packages = [path for path in sorted(folder.glob("intel-rapl:[0-9]*")) if path.name.count(":") == 1]
    if not packages:
        return f"no RAPL domain in /{POWERCAP}: a virtual machine, no x86, or the module intel_rapl_msr is not loaded"
    try:
        return Rapl(packages)
    except PermissionError:
        return f"/{POWERCAP}/{packages[0].name}/energy_uj may be read by root alone: sudo chmod a+r it, or run as root"
    except (OSError, ValueError) as error:
        return f"/{POWERCAP}/{packages[0].name} cannot be read: {error}"


def open_board(root: Path) -> EnergySource | str:
    """Return a Jetson's power monitors, by jetson-stats where it is installed and runs, or why there are none."""
    if not (root / "etc/nv_tegra_release").exists():
        return "not a Jetson"
    try:
        from jtop import jtop

        client = jtop()
        client.start()
        return Jtop(client)
    except ImportError:
        why = "jetson-stats is not installed"
    except Exception as error:  # of jtop's own classes: its service does not run, or is of another version
        why = f"jetson-stats does not answer ({error})".replace("\n", " ")
    rails = [(label.read_text().strip(), label.parent, label.name[2:-6])
             for folder in sorted(root.glob(INA3221)) for label in sorted(folder.glob("in[0-9]_label"))
             if (folder / f"curr{label.name[2:-6]}_input").exists()]
    return Ina3221(rails) if rails else f"{why}, and no INA3221 with labelled rails is in sysfs"


def open_nvml() -> EnergySource | str:
    """Return the energy counter of the first NVIDIA GPU, or why there is none."""
    try:
        import pynvml
    except ImportError:
        return "nvidia-ml-py is not installed: pip install nvidia-ml-py"
    try:
        pynvml.nvmlInit()
        return Nvml(pynvml)
    except pynvml.NVMLError as error:
        return f"NVML: {error}"


class PowerMeter:
    """All sources that are there, from begin to end.

    Args:
        root: of the file system.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._sources: list[EnergySource] = []
        self._why_not: dict[str, str] = {}
        for name, found in (("rapl", open_rapl(root)), ("board", open_board(root)), ("nvml", open_nvml())):
            if isinstance(found, str):
                self._why_not[name] = found
            else:
                self._sources.append(found)
        self._begin_ns = 0

    def begin(self) -> None:
        """Start counting."""
        self._begin_ns = time.monotonic_ns()
        self._each(lambda source: source.begin())

    def sample(self) -> None:
        """Look; some times a second is enough."""
        self._each(lambda source: source.sample())

    def end(self) -> PowerReport:
        """Return what was counted."""
        joules = self._each(lambda source: source.end())
        seconds = (time.monotonic_ns() - self._begin_ns) / 1e9
        return PowerReport(seconds, tuple(Energy(source.name, source.scope, used, used / seconds)
                                          for source, used in zip(self._sources, joules, strict=True)), self._why_not)

    def _each(self, act: Callable[[EnergySource], T]) -> list[T]:
        """Do something with every source; one that fails is left out from then on, and the run goes on."""
        kept, results = [], []
        for source in self._sources:
            try:
                results.append(act(source))
                kept.append(source)
            except Exception as error:  # of the packages' own classes, too
                self._why_not[source.name] = f"stopped answering: {error}"
        self._sources = kept
        return results
