"""The real-time loop in a thread of its own: Python sets it up, watches it and reads its report."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from edgekin._ek import ffi, lib
from edgekin.errors import RuntimeFault
from edgekin.runtime.changed import ChangedBody, raw_body
from edgekin.runtime.detector import VERDICT_NAMES, NativeDetector, Verdict, verdict_of
from edgekin.runtime.hist import Percentiles, summarize
from edgekin.runtime.ring import RingReader
from edgekin.runtime.status import check, status_name

MODES = {"event": int(lib.EK_MODE_EVENT), "timer": int(lib.EK_MODE_TIMER)}
#: Rise a quarter of a period early, but no earlier than it takes to run the network once before the frame comes.
SPIN_SHARE, SPIN_MAX_US = 0.25, 250.0


def auto_spin_us(rises_hz: float) -> float:
    """Return how long before a frame or deadline the loop should rise, us.

    Args:
        rises_hz: rate of the frames (event mode) or of the deadlines (timer mode).
    """
    return min(SPIN_SHARE * 1e6 / max(rises_hz, 1.0), SPIN_MAX_US)


class HasHandle(Protocol):
    """Anything around an `ek_engine *`."""

    @property
    def handle(self) -> Any: ...


class Inspects(HasHandle, Protocol):
    """Anything around an `ek_inspector *`."""

    @property
    def n_deviations(self) -> int: ...


@dataclass(frozen=True)
class LoopConfig:
    """How the loop runs; what is not permitted is left out and reported."""

    hz: float = 1000.0
    duration_s: float = 10.0  # 0: until stop()
    mode: str = "event"  # event: wake on a frame; timer: wake at every deadline
    spin_us: float = 0.0  # rise this long before a frame or deadline is due, warm the caches, busy-wait
    cpu: int = -1  # pin to this CPU; -1: do not
    fifo_priority: int = 40  # below the 50 of a controller, which a monitor must not preempt; 0: leave the policy
    lock_memory: bool = True
    warmup_ticks: int = 200  # periods that are run, but not recorded
    frame_hz: float = 0.0  # event mode: rate at which frames are expected; 0: as hz


@dataclass(frozen=True)
class Misses:
    """Verdicts that came too late, by cause."""

    count: int
    own: int  # the tick's own CPU time exceeds the period, and is not a disturbed tick (see loop.c, disturbed)
    preempted: int  # another thread had the CPU, or the wake-up came late
    stolen: int  # the hypervisor ran another machine
    unknown: int  # a burst of the publisher, or a CPU that was slow for no reason visible from here


@dataclass(frozen=True)
class LatencyReport:
    """The timing of one run. Jitter is defined here and nowhere else: wake-up latency p99 - p50."""

    period_us: float
    duration_s: float
    ticks: int
    frames: int
    idle_ticks: int  # ticks without a new frame
    frames_skipped: int  # overwritten by a newer one before the loop came round
    ticks_skipped: int  # deadlines that had passed already
    torn_frames: int
    wakeup: Percentiles  # actual - scheduled (timer mode) or - published (event mode)
    exec: Percentiles  # wake to verdict
    frame_to_verdict: Percentiles  # publish to verdict
    misses: Misses

    @property
    def jitter_us(self) -> float:
        """Wake-up latency p99 - p50, us."""
        return round(self.wakeup.p99 - self.wakeup.p50, 3)

    @property
    def miss_rate(self) -> float:
        """Misses per frame (event mode), or per tick where there were no frames."""
        return self.misses.count / max(self.frames or self.ticks, 1)


@dataclass(frozen=True)
class DetectionRecord:
    """Alarms against the ground truth that a simulated arm puts into its frames."""

    damaged_sequence: int  # first damaged frame that was seen; 0: none
    damaged_publish_ns: int
    alarm_sequence: int  # first alarm at or after it; 0: none
    alarm_ns: int
    false_alarms: int  # before any damaged frame
    false_alarm_ns: int


@dataclass(frozen=True)
class LoopReport:
    """Everything that one run of the loop counted."""

    start_ns: int
    latency: LatencyReport
    detection: DetectionRecord
    permissions: dict[str, str]  # what was asked of the system -> "yes", "not asked" or the reason of the refusal
    scored_frames: int
    psnr_db: float | None  # mean over healthy live frames
    iou: float | None
    last: Verdict
    verdict_shares: dict[str, float]  # share of the ticks that ended with each verdict
    bodies: int  # that the inspector took over; see Loop.accept
    body_ns: int  # when it took the last one; 0: never
    steal_ms: float  # CPU time that the hypervisor took from this machine's CPUs during the run


class Loop:
    """The loop around one engine, one ring and one detector, which must outlive it.

    Args:
        engine: opened engine; used by the loop's thread alone while it runs.
        ring: where the frames come from.
        detector: its settings belong to the engine.
        config: see LoopConfig.
        inspector: an edgekin.runtime.inspector.Inspector, which sees every fresh picture; None: none does.
    Raises:
        RuntimeFault: the sizes of engine and ring differ, or the configuration is out of range.
    """

    def __init__(self, engine: HasHandle, ring: RingReader, detector: NativeDetector, config: LoopConfig,
                 inspector: Inspects | None = None) -> None:
        if config.mode not in MODES:
            raise RuntimeFault(f"loop mode {config.mode!r} is unknown, expected event or timer")
        self.config = config
        self._keep = (engine, ring, detector, inspector)
        raw = ffi.new("ek_loop_config *", {
            "hz": config.hz, "frame_hz": config.frame_hz, "duration_ns": int(config.duration_s * 1e9),
            "mode": MODES[config.mode],
            "spin_ns": int(config.spin_us * 1e3), "cpu": config.cpu, "fifo_priority": config.fifo_priority,
            "lock_memory": int(config.lock_memory), "warmup_ticks": config.warmup_ticks})
        status = ffi.new("int *")
        handle = lib.ek_loop_create(engine.handle, ring.handle, detector.handle, raw, status)
        check(status[0], f"cannot set up the loop for a ring of {ring.n_joints} joints and masks {ring.mask_shape}",
              "The publisher must use the robot and cameras that the bundle was trained for.")
        self._handle = ffi.gc(handle, lib.ek_loop_destroy)
        if inspector is not None:
            check(lib.ek_loop_inspect(handle, inspector.handle), "cannot add the inspector to the loop")
        self._n_sizes, self._n_joints = 0 if inspector is None else inspector.n_deviations, ring.n_joints
        self._thread: threading.Thread | None = None
        # Not Thread.join: interrupted by a signal it may take a running thread for a stopped one (bpo-45274).
        self._done = threading.Event()
        self._steal_ms = 0.0
        self._raw_verdict = ffi.new("ek_verdict *")

    def start(self) -> None:
        """Start the loop in its own thread; the C side holds no Python lock while it runs."""
        if self._thread is not None:
            raise RuntimeFault("the loop was started already")
        self._thread = threading.Thread(target=self._run, name="edgekin-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            before = _steal_ms()
            lib.ek_loop_run(self._handle)
            self._steal_ms = _steal_ms() - before
        finally:
            self._done.set()

    def stop(self) -> None:
        """Ask the loop to end; it publishes the verdict unknown and returns within two periods."""
        lib.ek_loop_stop(self._handle)

    def accept(self, body: ChangedBody | None) -> bool:
        """Hand a body over to the loop's inspector, which takes it between two pictures and acknowledges the alarm.

        Args:
            body: None: the model.

        Returns:
            Whether it was handed over: not while the one before waits to be taken.

        Raises:
            RuntimeFault: the loop has no inspector, or a wrong number of sizes or offsets.
        """
        status = lib.ek_loop_accept(self._handle, raw_body(body, self._n_sizes, self._n_joints))
        if status_name(status) == "busy":
            return False
        check(status, "the loop has no inspector to hand a body over to")
        return True

    @property
    def running(self) -> bool:
        """Whether the loop's thread is alive."""
        return self._thread is not None and not self._done.is_set()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the loop; False when the timeout came first."""
        if self._thread is not None:
            self._done.wait(timeout_s)
        return not self.running

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """Stop and wait: engine, ring and detector may be closed only after the loop has let go of them."""
        self.stop()
        self.join()

    def verdict(self) -> Verdict:
        """Return the newest verdict, or unknown when it has expired."""
        check(lib.ek_loop_verdict(self._handle, self._raw_verdict), "cannot read the verdict")
        return verdict_of(self._raw_verdict)

    def report(self) -> LoopReport:
        """Return what was counted.

        Raises:
            RuntimeFault: the loop still runs.
        """
        if self.running:
            raise RuntimeFault("the loop still runs, its report is not complete", "Call stop() and join() first.")
        raw = ffi.new("ek_loop_stats *")
        check(lib.ek_loop_report(self._handle, raw), "cannot read the report")
        scored = int(raw.scored_frames)
        shares = {name: raw.ticks_by_verdict[code] / max(raw.ticks, 1) for code, name in VERDICT_NAMES.items()}
        return LoopReport(
            start_ns=raw.start_ns, latency=_latency(raw, 1e6 / self.config.hz),
            detection=DetectionRecord(raw.first_damaged_sequence, raw.first_damaged_publish_ns, raw.alarm_sequence,
                                      raw.alarm_ns, raw.false_alarms, raw.false_alarm_ns),
            permissions=_permissions(raw, self.config), scored_frames=scored,
            psnr_db=raw.sum_psnr_db / scored if scored else None, iou=raw.sum_iou / scored if scored else None,
            last=verdict_of(raw.last), verdict_shares=shares, bodies=int(raw.bodies),
            body_ns=int(raw.body_ns), steal_ms=self._steal_ms)


def _latency(raw: Any, period_us: float) -> LatencyReport:
    misses = Misses(raw.misses, raw.misses_own, raw.misses_preempted, raw.misses_stolen, raw.misses_unknown)
    return LatencyReport(
        period_us=period_us, duration_s=(raw.end_ns - raw.start_ns) / 1e9, ticks=raw.ticks, frames=raw.frames,
        idle_ticks=raw.idle_ticks, frames_skipped=raw.frames_skipped, ticks_skipped=raw.ticks_skipped,
        torn_frames=raw.torn_frames, wakeup=summarize(ffi.addressof(raw, "wakeup")),
        exec=summarize(ffi.addressof(raw, "exec")), frame_to_verdict=summarize(ffi.addressof(raw, "frame_to_verdict")),
        misses=misses)


#: What to do about a refusal, by errno.
REMEDIES = {
    errno.EPERM: "needs root, CAP_SYS_NICE or an rtprio limit in /etc/security/limits.conf",
    errno.ENOMEM: "memlock limit too low: raise it in /etc/security/limits.conf",
    errno.EAGAIN: "memlock limit too low: raise it in /etc/security/limits.conf",
    errno.EINVAL: "no such CPU, or not in this process's CPU set",
}


def _permissions(raw: Any, config: LoopConfig) -> dict[str, str]:
    got = {f"SCHED_FIFO {config.fifo_priority}": raw.got_fifo, "mlockall": raw.got_lock,
           f"affinity CPU {config.cpu}" if config.cpu >= 0 else "affinity": raw.got_affinity,
           "timer slack 1 ns": raw.got_timer_slack}

    def text(code: int) -> str:
        if code > 0:
            return "yes"
        if code == 0:
            return "not asked"
        return f"no: {os.strerror(-code)}; {REMEDIES.get(-code, 'refused by the kernel')}"

    return {name: text(int(code)) for name, code in got.items()}


def _steal_ms() -> float:
    """Return the stolen CPU time of all CPUs since boot, ms (proc(5), /proc/stat, field steal)."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        return int(fields[8]) * 1000.0 / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0
