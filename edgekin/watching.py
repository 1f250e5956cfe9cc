"""The loop beside an arm that something else moves: what `edgekin watch` runs, by hand or as a service."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edgekin.bundle import Bundle, load_bundle
from edgekin.errors import ConfigError, RuntimeFault
from edgekin.machine import AUTO_CPU
from edgekin.runtime.detector import DetectorConfig, NativeDetector, Verdict
from edgekin.runtime.loop import Loop, LoopConfig, LoopReport, auto_spin_us
from edgekin.runtime.ring import RingReader
from edgekin.runtime.systemd import notify

#: How often the verdict is looked at and systemd is told; the loop itself never waits for it.
POLL_S = 0.05
STOP_TIMEOUT_S = 10.0
#: Three periods of the camera without a frame are stale.
STALE_PERIODS = 3


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

    def validated(self) -> WatchOptions:
        """Return the options with the CPU filled in; raises ConfigError where one is out of range."""
        ranges = (("--hz", self.hz, 1.0, 10_000.0), ("--seconds", self.seconds, 0.0, 1e9),
                  ("--fifo", self.fifo_priority, 0, 99), ("--cpu", self.cpu, AUTO_CPU, 4095))
        for name, value, low, high in ranges:
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value:g}, expected {low:g} to {high:g}", "Correct it")
        cpus = sorted(os.sched_getaffinity(0))
        return replace(self, cpu=self.cpu if self.cpu != AUTO_CPU else cpus[-1] if len(cpus) > 1 else -1)


#: Called with every verdict that differs from the one before.
Changed = Callable[[Verdict], None]


def watch(options: WatchOptions, changed: Changed, stopped: Callable[[], bool]) -> LoopReport | None:
    """Wait for the ring, then run the loop on its frames until told to stop; systemd hears of it.

    A watchdog is pinged while the loop decides, also where the publisher is silent: that is the verdict unknown.

    Args:
        options: see WatchOptions.
        changed: called with the first verdict and with every one that differs from it in kind or reason.
        stopped: whether to end.

    Returns:
        What the loop counted; None where it was stopped before there was a ring.

    Raises:
        BundleError, ConfigError: the bundle or an option cannot be used.
        RuntimeFault: the ring belongs to another robot, or the loop did not stop.
    """
    options = options.validated()
    bundle = load_bundle(options.bundle)
    with bundle.open_engine(options.isa) as engine:
        notify("READY=1", f"STATUS=waiting for frames in {options.ring}")
        if not _wait_for(options.ring, stopped):
            return None
        config = replace(DetectorConfig.from_json(bundle.detector), stale_ns=int(STALE_PERIODS * 1e9 / options.hz))
        with RingReader(options.ring) as ring:
            check_robot(bundle, ring)
            loop = Loop(engine, ring, NativeDetector(config), _loop_config(options))
            with _running(loop):
                _follow(loop, changed, stopped)
            return loop.report()


def _wait_for(ring: Path, stopped: Callable[[], bool]) -> bool:
    while not ring.exists():
        if stopped():
            return False
        notify("WATCHDOG=1")
        time.sleep(POLL_S)
    return True


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
        notify("STOPPING=1")
        loop.stop()
        if not loop.join(STOP_TIMEOUT_S):
            raise RuntimeFault(f"the loop did not stop within {STOP_TIMEOUT_S:g} s")


def _follow(loop: Loop, changed: Changed, stopped: Callable[[], bool]) -> None:
    """Tell changes of the verdict, and systemd while decisions go on."""
    last_ns, last_kind = -1, (-1, -1)
    while not stopped() and not loop.join(POLL_S):
        verdict = loop.verdict()
        if verdict.decided_ns != last_ns:
            last_ns = verdict.decided_ns
            notify("WATCHDOG=1")
        kind = (verdict.verdict, verdict.reason)
        if kind != last_kind:
            last_kind = kind
            notify(f"STATUS={verdict.name} ({verdict.reason_name})")
            changed(verdict)
