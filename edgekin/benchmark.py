"""The bundle in the real-time loop beside a simulated arm: what `edgekin bench` runs and reports."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgekin import machine
from edgekin.bundle import Bundle, load_bundle
from edgekin.detection.live import LiveAdapter, LiveReport, rate_of
from edgekin.errors import ConfigError, RuntimeFault
from edgekin.machine import AUTO_CPU
from edgekin.opening import adapted_body, loop_detector, open_bundle, open_inspector
from edgekin.ranges import check_ranges
from edgekin.robot import parse_events
from edgekin.runtime.clocks import ClockReport, ClockWatch
from edgekin.runtime.cuda import CudaInfo, CudaOptions, GpuEngine
from edgekin.runtime.detector import NativeDetector, Verdict
from edgekin.runtime.findings import Drift
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.inspector_config import CLASSES
from edgekin.runtime.loop import MODES, Loop, LoopConfig, LoopReport, auto_spin_us
from edgekin.runtime.power import PowerMeter, PowerReport
from edgekin.runtime.ring import RingReader
from edgekin.sim.alongside import ArmOptions, ArmProcess, ArmReport, free_ring_path

SCHEMA = "edgekin.bench/1"
POLL_S = 0.1  # of the verdict, for the live line; the loop itself never waits for it
WARMUP_S = 0.2
STOP_TIMEOUT_S = 10.0
AUTO_SPIN_US = -1.0  # runtime.loop.auto_spin_us


class Progress(Protocol):
    """Called a few times a second."""

    def __call__(self, elapsed: float, verdict: Verdict, state: str = "") -> None:
        """Take the elapsed seconds, the newest verdict, and what an adapter does."""


@dataclass(frozen=True)
class BenchOptions:
    """What to run."""

    bundle: Path
    hz: float = 1000.0
    seconds: float = 10.0
    damage: str = ""  # KIND...@SECONDS, joined by "+"; empty: none
    camera_hz: float = 0.0  # 0: as the loop
    mode: str = "event"
    cpu: int = AUTO_CPU  # -1: do not pin; AUTO_CPU: the last one, where there are two
    fifo_priority: int = 40
    spin_us: float = AUTO_SPIN_US
    seed: int = 0  # of the arm's motion
    isa: str = "auto"
    inspect: bool = True  # show the pictures to the bundle's inspector, where it has one
    adapt: bool = False  # let the inspector's body adapt to what it finds
    adapted: bool = False  # begin with the body that edgekin adapt left beside the bundle
    engine: str = "auto"  # native, cuda, or that of the bundle's target
    cuda: CudaOptions = field(default_factory=CudaOptions)  # of a GPU

    def validated(self) -> BenchOptions:
        """Return the options with the defaults filled in.

        Raises:
            ConfigError: a value out of range, or a damage after the end.
        """
        camera_hz = self.camera_hz or self.hz
        rises_hz = max(camera_hz if self.mode == "event" else self.hz, 1.0)
        spin_us = auto_spin_us(rises_hz) if self.spin_us == AUTO_SPIN_US else self.spin_us
        check_ranges((("--hz", self.hz, 1.0, 10_000.0), ("--camera-hz", camera_hz, 1.0, 10_000.0),
                      ("--seconds", self.seconds, 0.1, 86_400.0), ("--fifo", self.fifo_priority, 0, 99),
                      ("--spin-us", spin_us, 0.0, 0.5e6 / rises_hz)))
        if self.mode not in MODES:
            raise ConfigError(f"--mode is {self.mode!r}, expected event or timer", "Correct it")
        if any(event.onset_s >= self.seconds for event in parse_events(self.damage)):
            raise ConfigError(f"damage {self.damage} would come after the end at {self.seconds:g} s",
                              "Give an earlier @SECONDS or more --seconds")
        if (self.adapt or self.adapted) and not self.inspect:
            raise ConfigError("--adapt and --adapted need an inspector", "Leave --no-inspect out")
        cpus = sorted(os.sched_getaffinity(0))
        cpu = self.cpu if self.cpu != AUTO_CPU else cpus[-1] if len(cpus) > 1 else -1
        return replace(self, camera_hz=camera_hz, cpu=cpu, spin_us=spin_us)


@dataclass(frozen=True)
class Detection:
    """What became of the damage; milliseconds after second 0 of the run."""

    damage: str
    onset_ms: float | None  # when the first damaged picture was taken
    alarm_ms: float | None
    delay_ms: float | None  # from that picture to the alarm
    delay_frames: int | None  # fresh frames up to the alarm; 1: the first damaged one
    false_alarms: int
    verdict: str
    alarm: str = ""  # class, as an inspector has it; "" without one, or without an alarm
    found: str = ""  # what it names: "bend of L2 4.9 +- 0.3 deg"


@dataclass(frozen=True)
class BenchResult:
    """Everything that one run measured."""

    options: BenchOptions
    bundle: Bundle
    isa: str
    loop: LoopReport
    arm: ArmReport
    detection: Detection
    power: PowerReport
    clocks: ClockReport
    peak_rss_mb: float  # of this process, Python included, without the arm's; 10^6 bytes
    gpu: CudaInfo | None = None  # that the engine ran on
    adaptation: LiveReport | None = None  # None: nothing adapted
    drifts: tuple[Drift, ...] = ()  # of encoders; empty without an inspector

    def to_json(self) -> dict[str, Any]:
        """Return the schema `edgekin.bench/1`."""
        latency, loop = self.loop.latency, self.loop
        exact = {"psnr_db": loop.psnr_db, "iou": loop.iou, "frames": loop.scored_frames}
        return {
            "schema": SCHEMA, "revision": machine.revision(), "seed": self.options.seed,
            "hz": self.options.hz, "seconds": latency.duration_s, "ticks": latency.ticks, "frames": latency.frames,
            "idle_ticks": latency.idle_ticks, "frames_skipped": latency.frames_skipped,
            "ticks_skipped": latency.ticks_skipped, "torn_frames": latency.torn_frames,
            "exec_us": latency.exec.to_json(), "wakeup_us": latency.wakeup.to_json(),
            "frame_to_verdict_us": latency.frame_to_verdict.to_json(), "jitter_us": latency.jitter_us,
            "deadline_misses": {**asdict(latency.misses), "rate": latency.miss_rate},
            "detection": {**asdict(self.detection), "shares": loop.verdict_shares},
            "power": self.power.to_json(latency.ticks, latency.duration_s), "clocks": self.clocks.to_json(),
            "peak_rss_mb": self.peak_rss_mb, "fidelity": exact, "machine": machine.describe(),
            "bundle": {"path": str(self.bundle.path), "target": self.bundle.target, "isa": self.isa,
                       "precision": self.bundle.precision, "robot": self.bundle.manifest.get("robot")},
            "gpu": asdict(self.gpu) if self.gpu is not None else None,
            "drift": [drift.to_json() for drift in self.drifts],
            "adaptation": self._adaptation() if self.adaptation is not None else None,
            "settings": {**asdict(self.options), "bundle": str(self.options.bundle),
                         "permissions": loop.permissions, "arm": asdict(self.arm), "steal_ms": loop.steal_ms},
        }

    def _adaptation(self) -> dict[str, Any]:
        live, start_ns = self.adaptation, self.loop.start_ns
        assert live is not None
        taken_ms = round((self.loop.body_ns - start_ns) / 1e6, 3) if self.loop.bodies else None
        return {"steps": [{"ms": round((step.at_ns - start_ns) / 1e6, 3), "state": step.result.state}
                          for step in live.steps],
                "state": live.last.state, "taken_ms": taken_ms, "bodies": self.loop.bodies,
                "changes": [str(named) for named in live.last.change.named] if live.last.change else [],
                "psnr_before_db": psnr_of(live.last.misfit, self.bundle),
                "psnr_after_db": psnr_of(live.last.tried, self.bundle), "pictures": live.pictures,
                "judge_ms": {"p50": live.judge_ms[0], "max": live.judge_ms[1]}}


def psnr_of(misfit: float, bundle: Bundle) -> float | None:
    """Return the PSNR of pictures with a squared error that is summed over pixels, dB; None where there were none."""
    pixels = sum(camera.width * camera.height for camera in bundle.robot.cameras)
    return float(-10 * np.log10(misfit / pixels)) if misfit > 0 else None


def run_bench(options: BenchOptions, progress: Progress = lambda elapsed, verdict, state="": None) -> BenchResult:
    """Run the loop beside the arm for the time asked for.

    Args:
        options: see BenchOptions.
        progress: called about ten times a second.
    Raises:
        BundleError: the bundle cannot be used.
        ConfigError: an option is out of range, or the damage does not fit the robot.
        RuntimeFault: the arm or the loop failed.
    """
    options = options.validated()
    bundle = load_bundle(options.bundle)
    with ExitStack() as stack:
        engine = open_bundle(bundle, options.engine, options.isa, options.cuda)
        stack.callback(engine.close)
        look = _look(stack, bundle, options)
        detector = NativeDetector(loop_detector(bundle, options.camera_hz, look is not None))
        arm_cpus = tuple(sorted(os.sched_getaffinity(0) - {options.cpu}))
        arm_options = ArmOptions(str(bundle.path / "robot.yaml"), free_ring_path(), options.camera_hz, options.seed,
                                 options.damage, cpus=arm_cpus, fifo_priority=options.fifo_priority // 2)
        with ArmProcess(arm_options) as arm, RingReader(arm_options.ring) as ring:
            loop = Loop(engine, ring, detector, _loop_config(options), look)
            with _adapter(bundle, options, arm_options.ring, loop) as live:
                measured = _run(loop, arm, options, _with_state(progress, live))
        isa, gpu = engine.info.isa, engine.cuda if isinstance(engine, GpuEngine) else None
        drifts = look.drifts() if look is not None else ()
    return BenchResult(options, bundle, isa, measured.loop, measured.arm,
                       _detection(options, measured.loop, measured.arm, look), measured.power, measured.clocks,
                       machine.peak_rss_mb(), gpu, live.report() if live is not None else None, drifts)


def _look(stack: ExitStack, bundle: Bundle, options: BenchOptions) -> Inspector | None:
    """The loop's inspector, where there is one or where one is needed."""
    if not options.inspect or not (bundle.inspection or options.adapt or options.adapted):
        return None
    return stack.enter_context(open_inspector(bundle, options.isa, options.camera_hz, options.adapted))


@contextmanager
def _adapter(bundle: Bundle, options: BenchOptions, ring: Path, loop: Loop) -> Iterator[LiveAdapter | None]:
    """An adapter with a body of its own, so that the loop's is nobody else's."""
    if not options.adapt:
        yield None
        return
    with open_inspector(bundle, options.isa, rate_of(options.camera_hz)) as inspector:
        begin_with = adapted_body(bundle, inspector.config) if options.adapted else None
        with LiveAdapter(ring, inspector, loop.accept, begin_with) as live:
            yield live


def _with_state(progress: Progress, live: LiveAdapter | None) -> Progress:
    def told(elapsed: float, verdict: Verdict, state: str = "") -> None:
        progress(elapsed, verdict, live.state if live is not None else state)

    return told


def _loop_config(options: BenchOptions) -> LoopConfig:
    return LoopConfig(options.hz, options.seconds, options.mode, options.spin_us, options.cpu, options.fifo_priority,
                      warmup_ticks=int(WARMUP_S * options.hz), frame_hz=options.camera_hz)


@dataclass(frozen=True)
class _Measured:
    loop: LoopReport
    arm: ArmReport
    power: PowerReport
    clocks: ClockReport


def _run(loop: Loop, arm: ArmProcess, options: BenchOptions, progress: Progress) -> _Measured:
    meter, clocks = PowerMeter(), ClockWatch(options.cpu)
    begin_ns = time.monotonic_ns() + int(WARMUP_S * 1e9)
    arm.go(begin_ns)
    loop.start()
    clocks.begin()  # while it warms up
    meter.begin()
    try:
        while not loop.join(POLL_S):
            if not arm.alive:
                raise RuntimeFault("the simulated arm ended early; the verdict is unknown", "Run the bench again")
            meter.sample()
            progress(max(0.0, (time.monotonic_ns() - begin_ns) / 1e9), loop.verdict())
    finally:
        loop.stop()
        if not loop.join(STOP_TIMEOUT_S):
            raise RuntimeFault(f"the loop did not stop within {STOP_TIMEOUT_S:g} s")
    power, ended = meter.end(), clocks.end()
    return _Measured(loop.report(), arm.stop(), power, ended)


def _detection(options: BenchOptions, report: LoopReport, arm: ArmReport, look: Inspector | None) -> Detection:
    seen, last = report.detection, report.last
    found = str(look.named(last)) if look is not None and last.alarm else ""

    def since_start(stamp_ns: int) -> float | None:
        return round((stamp_ns - report.start_ns) / 1e6, 3) if stamp_ns else None

    hit = bool(seen.alarm_sequence and seen.damaged_sequence)
    return Detection(
        damage=options.damage, onset_ms=since_start(arm.onset_ns),
        alarm_ms=since_start(seen.alarm_ns if hit else seen.false_alarm_ns),
        delay_ms=round((seen.alarm_ns - arm.onset_ns) / 1e6, 3) if hit else None,
        delay_frames=seen.alarm_sequence - seen.damaged_sequence + 1 if hit else None,
        false_alarms=seen.false_alarms, verdict=last.name, alarm=CLASSES[last.alarm], found=found)
