"""The loop beside an arm that something else moves: what `edgekin watch` runs, by hand or as a service."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekin.bundle import Bundle, load_bundle
from edgekin.errors import ConfigError, RuntimeFault
from edgekin.machine import AUTO_CPU
from edgekin.opening import loop_detector, open_bundle, open_inspector
from edgekin.output import read_object, write_json
from edgekin.ranges import check_ranges
from edgekin.runtime.cuda import CudaOptions
from edgekin.runtime.detector import DAMAGED, FAULT, VERDICT_NAMES, NativeDetector, Verdict
from edgekin.runtime.engine import Engine
from edgekin.runtime.findings import Drift, Named
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.inspector_config import CLASSES
from edgekin.runtime.loop import Loop, LoopConfig, LoopReport, auto_spin_us
from edgekin.runtime.ring import RingReader
from edgekin.runtime.systemd import notify

#: How often the verdict is looked at and systemd is told; the loop itself never waits for it.
POLL_S = 0.05
STOP_TIMEOUT_S = 10.0
#: How long a file may be no ring before that is an error.
PATIENCE_S = 2.0
#: Verdicts that stay until somebody acknowledges them.
ALARMS = (VERDICT_NAMES[DAMAGED], FAULT_NAME := VERDICT_NAMES[FAULT])


@dataclass(frozen=True)
class WatchOptions:
    """What to watch, and how."""

    bundle: Path
    ring: Path
    hz: float = 1000.0  # of the loop, and of the frames
    seconds: float = 0.0  # 0: until stopped
    cpu: int = AUTO_CPU  # -1: do not pin; AUTO_CPU: the last one, where there are two
    fifo_priority: int = 40
    isa: str = "auto"
    inspect: bool = True  # show the pictures to the bundle's inspector, where it has one
    adapted: bool = False  # with the body that edgekin adapt left beside the bundle
    engine: str = "auto"  # native, cuda, or that of the bundle's target
    cuda: CudaOptions = field(default_factory=CudaOptions)  # of a GPU
    latch: Path | None = None  # where an alarm is remembered; None: it is forgotten at the end
    acknowledge: bool = False  # forget an earlier run's alarm

    def validated(self) -> WatchOptions:
        """Return the options with the CPU filled in; raises ConfigError where one is out of range."""
        check_ranges((("--hz", self.hz, 1.0, 10_000.0), ("--seconds", self.seconds, 0.0, 1e9),
                      ("--fifo", self.fifo_priority, 0, 99), ("--cpu", self.cpu, AUTO_CPU, 4095)))
        if self.adapted and not self.inspect:
            raise ConfigError("--adapted needs an inspector", "Leave --no-inspect out")
        cpus = sorted(os.sched_getaffinity(0))
        return replace(self, cpu=self.cpu if self.cpu != AUTO_CPU else cpus[-1] if len(cpus) > 1 else -1)


@dataclass(frozen=True)
class Said:
    """A verdict in words."""

    name: str  # healthy, damaged, unknown or fault
    reason: str  # of a rejection or fault; "ok" where there is none
    alarm: str = ""  # class, as an inspector has it
    found: Named | None = None  # what it names

    @property
    def because(self) -> str:
        """Whatever there is to say about it, "" or in brackets."""
        found = f"{self.alarm}: {self.found}" if self.found and self.found.what else self.alarm
        told = found or ("" if self.reason == "ok" else self.reason)
        return f" ({told})" if told else ""

    def differs(self, other: Said | None) -> bool:
        """Whether it is worth saying after another: a size that grows more certain alone is not."""
        def gist(said: Said) -> tuple[str, ...]:
            named = said.found
            return said.name, said.reason, said.alarm, *((named.what, named.part) if named else ())

        return other is None or gist(self) != gist(other)


#: Called with the first verdict and with every other one that differs.
Changed = Callable[[Said, Verdict], None]


class Latch:
    """The last alarm, in a file, so that a restart does not forget it; acknowledging is deleting it.

    Args:
        path: the file; None: no memory.
        acknowledge: forget what an earlier run has left.

    Raises:
        ConfigError: the file cannot be removed.
    """

    def __init__(self, path: Path | None, acknowledge: bool = False) -> None:
        self._path, self.name = path, ""
        if path is None or not path.exists():
            return
        if acknowledge:
            try:
                path.unlink()
            except OSError as error:
                raise ConfigError(f"cannot remove {path}: {error.strerror}", "Run as who may write there") from error
            return
        try:
            name = read_object(path, "").get("verdict")
        except ConfigError:
            name = None
        # A file that says anything else, or nothing, was an alarm all the same.
        self.name = str(name) if name in ALARMS else FAULT_NAME

    def hold(self, said: Said, verdict: Verdict) -> None:
        """Remember an alarm; a full disk is no reason to stop watching."""
        if self._path is None or verdict.name not in ALARMS or self.name == verdict.name:
            return
        self.name = verdict.name
        content = {"schema": "edgekin.latch/1", "verdict": verdict.name, "reason": verdict.reason_name,
                   "alarm": said.alarm, "found": str(said.found) if said.found else "", "sequence": verdict.sequence,
                   "z": verdict.z, "cusum": verdict.cusum, "unix_s": time.time()}
        try:
            write_json(self._path, content)
        except ConfigError:
            notify(f"STATUS={verdict.name}, and {self._path} cannot be written")


class _Follower:
    """Tells what changes, and systemd while decisions go on."""

    def __init__(self, latch: Latch, look: Inspector | None, changed: Changed, stopped: Callable[[], bool]) -> None:
        self._latch, self._inspector, self._changed, self._stopped = latch, look, changed, stopped
        self._earlier, self._last_ns = latch.name, -1
        self._said: Said | None = None

    def follow(self, loop: Loop, ring: _Open) -> bool:
        """Follow one loop to its end; True where another file took the place of its ring."""
        while not self._stopped() and not loop.join(POLL_S):
            self._look(loop.verdict())
            if ring.replaced():
                return True
        return False

    def _look(self, verdict: Verdict) -> None:
        if verdict.decided_ns != self._last_ns:
            self._last_ns = verdict.decided_ns
            notify("WATCHDOG=1")
        found = self._inspector.named(verdict) if self._inspector is not None else None
        said = Said(verdict.name, verdict.reason_name, CLASSES[verdict.alarm], found)
        self._latch.hold(said, verdict)
        if self._earlier and verdict.name not in ALARMS:
            said = Said(self._earlier, "latched before this start")
        if said.differs(self._said):
            self._said = said
            notify(f"STATUS={said.name}{said.because}")
            self._changed(said, verdict)


@dataclass(frozen=True)
class _Open:
    """An open ring, and which file it is: a driver that starts again may make a new one of the same name."""

    reader: RingReader
    path: Path
    file: tuple[int, int]

    def replaced(self) -> bool:
        """Whether there is another file of that name now."""
        return _identity(self.path) not in (None, self.file)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _open(path: Path, stopped: Callable[[], bool]) -> _Open | None:
    """Wait for the ring and open it; None where it was stopped first. A file that is being made is no ring yet."""
    failures = 0
    while not stopped():
        notify("WATCHDOG=1")
        file = _identity(path)
        if file is not None:
            try:
                return _Open(RingReader(path), path, file)
            except RuntimeFault:
                failures += 1
                if failures * POLL_S > PATIENCE_S:
                    raise
        time.sleep(POLL_S)
    return None


def watch(options: WatchOptions, changed: Changed, stopped: Callable[[], bool],
          opened: Callable[[Engine], None] = lambda engine: None,
          ended: Callable[[tuple[Drift, ...]], None] = lambda drifts: None) -> LoopReport | None:
    """Wait for the ring, then run the loop on its frames until told to stop; systemd hears of it.

    A watchdog is pinged while the loop decides, also where the publisher is silent: that is the verdict unknown. A
    publisher that starts again with a new ring is followed; an alarm stays.

    Args:
        options: see WatchOptions.
        changed: see Changed.
        stopped: whether to end.
        opened: called with the engine, before the first frame.
        ended: called with how far encoders are off, after the last frame.

    Returns:
        What the last loop counted; None where it was stopped before there was a ring.

    Raises:
        BundleError, ConfigError: the bundle or an option cannot be used.
        RuntimeFault: the ring belongs to another robot, or the loop did not stop.
    """
    options = options.validated()
    latch = Latch(options.latch, options.acknowledge)
    bundle, report = load_bundle(options.bundle), None
    with ExitStack() as stack:
        engine = stack.enter_context(open_bundle(bundle, options.engine, options.isa, options.cuda))
        look = stack.enter_context(open_inspector(bundle, options.isa, options.hz, options.adapted)) \
            if options.inspect and (bundle.inspection or options.adapted) else None
        detector = NativeDetector(loop_detector(bundle, options.hz, look is not None))
        follower = _Follower(latch, look, changed, stopped)
        opened(engine)
        notify("READY=1", f"STATUS=waiting for frames in {options.ring}")
        again = True
        while again and (ring := _open(options.ring, stopped)):
            with ring.reader:
                check_robot(bundle, ring.reader)
                loop = Loop(engine, ring.reader, detector, _loop_config(options), look)
                with _running(loop):
                    again = follower.follow(loop, ring)
                report = loop.report()
        ended(look.drifts() if look is not None else ())
    notify("STOPPING=1")
    return report


def check_robot(bundle: Bundle, ring: RingReader) -> None:
    """Raise RuntimeFault where the publisher names another robot than the bundle's; none named is accepted."""
    mine = str(bundle.manifest.get("robot", {}).get("sha256", ""))
    named = ring.info().model_hash.hex()
    if mine and named.strip("0") and named != mine:
        raise RuntimeFault(f"the ring is of robot {named[:12]}..., bundle {bundle.path} of {mine[:12]}...",
                           "Give the publisher's bundle, or publish for this one")


def _loop_config(options: WatchOptions) -> LoopConfig:
    return LoopConfig(options.hz, options.seconds, "event", auto_spin_us(options.hz), options.cpu,
                      options.fifo_priority, frame_hz=options.hz)


@contextmanager
def _running(loop: Loop) -> Iterator[None]:
    loop.start()
    try:
        yield
    finally:
        loop.stop()
        if not loop.join(STOP_TIMEOUT_S):
            raise RuntimeFault(f"the loop did not stop within {STOP_TIMEOUT_S:g} s")
