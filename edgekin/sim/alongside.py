"""The simulated arm as a process of its own beside the loop: physics, picture and ring in real time.

`ArmProcess` is the parent's side. The child publishes frames before it says so on its stdout ("ready"), counts the
onset of damages from a start time that it gets on stdin, and ends with its parent: at SIGTERM, at the end of stdin,
or when the kernel tells it that the parent died.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from edgekin.errors import EdgekinError, RuntimeFault
from edgekin.runtime.ring import FRAME_DAMAGED, RingWriter, shm_path

if TYPE_CHECKING:
    from edgekin.sim.arm import ArmState

PR_SET_PDEATHSIG, PR_SET_TIMERSLACK = 1, 29  # prctl(2)
FRAMES_BEFORE_READY = 5
MIN_SLEEP_NS = 50_000
START_TIMEOUT_S = 120.0  # a large mesh, a cold disk and a loaded machine together
PUNCTUAL_SHARE = 0.99  # of the wanted frames; below it the arm says that it did not keep up


@dataclass(frozen=True)
class ArmOptions:
    """What the simulated arm does."""

    robot: str  # what load_robot takes: a bundle's robot.yaml, a URDF, a built-in name
    ring: Path
    camera_hz: float
    seed: int
    damage: str = ""  # KIND...@SECONDS, joined by "+"; empty: none
    physics_hz: float = 1000.0
    cpus: tuple[int, ...] = ()  # CPUs it may use; empty: any
    fifo_priority: int = 0  # SCHED_FIFO where permitted, so that it is as punctual as a camera is; 0: leave the policy


@dataclass(frozen=True)
class ArmReport:
    """What the simulated arm did."""

    frames: int
    camera_hz: float  # achieved
    wanted_camera_hz: float
    skipped_frames: int  # pictures that it was too late for
    skipped_steps: int  # physics periods that it was too late for (the motion pauses meanwhile)
    onset_ns: int  # CLOCK_MONOTONIC of the first damaged picture's stamp; 0: none
    peak_speed_rad_s: float

    @property
    def kept_up(self) -> bool:
        """Whether it published 99% of the frames that were wanted of it."""
        return self.camera_hz >= PUNCTUAL_SHARE * self.wanted_camera_hz


class ArmProcess:
    """The parent's side of the simulated arm.

    Args:
        options: see ArmOptions; the ring's file is made by the child and removed here at the latest.
    Raises:
        RuntimeFault: the child failed before its first frame; carries its own message.
    """

    def __init__(self, options: ArmOptions) -> None:
        self.options = options
        fields = json.dumps({**asdict(options), "ring": str(options.ring)})
        package_root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(p for p in (package_root, os.environ.get("PYTHONPATH", "")) if p)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        self._child = subprocess.Popen([sys.executable, "-m", "edgekin.sim.alongside", fields], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True, env=environment)
        try:
            message = self._message(START_TIMEOUT_S)
            if "ready" not in message:
                raise RuntimeFault(message.get("error", "the simulated arm ended before its first frame"))
        except BaseException:
            self._end()
            raise

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._child.poll() is None

    def go(self, start_ns: int) -> None:
        """Tell the arm when second 0 is, CLOCK_MONOTONIC ns; onsets count from there."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{start_ns}\n")
        self._child.stdin.flush()

    def stop(self) -> ArmReport:
        """End the arm and return what it did.

        Raises:
            RuntimeFault: it had died or ends without a report.
        """
        try:
            if self.alive:
                self._child.send_signal(signal.SIGTERM)
            message = self._message(30.0)
        finally:
            self._end()
        if "report" not in message:
            raise RuntimeFault(f"the simulated arm ended early: {message.get('error', 'it was killed')}")
        return ArmReport(**message["report"])

    def _message(self, timeout_s: float) -> dict[str, Any]:
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], timeout_s)
        line = self._child.stdout.readline() if ready else ""
        return dict(json.loads(line)) if line else {}

    def _end(self) -> None:
        if self.alive:
            self._child.terminate()
            try:
                self._child.wait(5.0)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # the child went first
                    stream.close()
        self.options.ring.unlink(missing_ok=True)

    def __enter__(self) -> ArmProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._end()


def free_ring_path() -> Path:
    """Return the path of the ring that this process's bench uses."""
    return shm_path("bench")


# ---- the child -------------------------------------------------------------------------------------------------------


class _Publisher:
    """The child's real-time part: absolute deadlines, late work skipped and counted."""

    def __init__(self, options: ArmOptions) -> None:
        from edgekin.robot import load_robot, parse_events, robot_sha256
        from edgekin.sim.arm import SimulatedArm
        from edgekin.sim.motion import PEAK_SPEED

        spec = load_robot(options.robot)
        self.arm = SimulatedArm(spec, options.seed, options.physics_hz, parse_events(options.damage))
        self.options, self.peak_speed = options, PEAK_SPEED
        size = spec.cameras[0]
        self.writer = RingWriter(options.ring, len(spec.actuated), (len(spec.cameras), size.height, size.width),
                                 bytes.fromhex(robot_sha256(spec)))
        self.stopped = False
        self.frames = self.skipped_frames = self.skipped_steps = self.onset_ns = 0
        self.start_ns = 0  # second 0; 0: not known yet
        self.first_ns = self.last_ns = 0

    def run(self) -> None:
        """Publish until stopped."""
        step_ns, frame_ns = int(1e9 / self.options.physics_hz), int(1e9 / self.options.camera_hz)
        next_step = next_frame = time.monotonic_ns()
        while not self.stopped:
            # Also a late arm sleeps a little: at a real-time priority it must never keep a CPU to itself.
            time.sleep(max(next_step - time.monotonic_ns(), MIN_SLEEP_NS) / 1e9)
            if not self.start_ns and self.frames > FRAMES_BEFORE_READY:
                self._listen()
            state = self.arm.step((next_step - self.start_ns) / 1e9 if self.start_ns else -math.inf)
            if next_step >= next_frame:
                self._publish(state)
                next_frame, skipped = _next(next_frame, frame_ns, time.monotonic_ns())
                self.skipped_frames += skipped
            next_step, skipped = _next(next_step, step_ns, time.monotonic_ns())
            self.skipped_steps += skipped

    def _listen(self) -> None:
        if select.select([sys.stdin], [], [], 0)[0]:
            line = sys.stdin.readline()
            self.stopped = not line  # the parent closed its end
            self.start_ns = int(line) if line else 0

    def _publish(self, state: ArmState) -> None:
        stamp_ns = time.monotonic_ns()
        self.writer.publish(state.published_pos, self.arm.picture(), stamp_ns,
                            FRAME_DAMAGED if self.arm.should_alarm else 0, commanded=state.commanded)
        self.first_ns, self.last_ns, self.frames = self.first_ns or stamp_ns, stamp_ns, self.frames + 1
        if self.arm.changed and not self.onset_ns:
            self.onset_ns = stamp_ns
        if self.frames == FRAMES_BEFORE_READY:
            print(json.dumps({"ready": True}), flush=True)

    def report(self) -> ArmReport:
        """Return what was done so far."""
        seconds = max(self.last_ns - self.first_ns, 1) / 1e9
        rate = round((self.frames - 1) / seconds, 2)
        return ArmReport(self.frames, rate, self.options.camera_hz, self.skipped_frames, self.skipped_steps,
                         self.onset_ns, self.peak_speed)


def _next(deadline_ns: int, period_ns: int, now_ns: int) -> tuple[int, int]:
    """Return the first deadline of the grid that has not passed by a whole period, and how many were skipped."""
    deadline_ns += period_ns
    late = max(0, (now_ns - deadline_ns) // period_ns)
    return deadline_ns + late * period_ns, late


def _settle(options: ArmOptions) -> None:
    """Tie this process to its parent and its CPUs, and keep the garbage collector out of the run."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    if options.cpus:
        with contextlib.suppress(OSError):  # a hint: the scheduler does without it
            os.sched_setaffinity(0, options.cpus)
    if options.fifo_priority:
        with contextlib.suppress(OSError):  # then it is late now and then, and its report says so
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(options.fifo_priority))
    gc.disable()


def main(arguments: list[str] | None = None) -> int:
    """Run the child; its messages are single JSON lines on stdout."""
    parser = argparse.ArgumentParser(prog="python -m edgekin.sim.alongside", description=__doc__)
    parser.add_argument("options", help="ArmOptions as JSON")
    fields = json.loads(parser.parse_args(arguments).options)
    options = ArmOptions(**{**fields, "ring": Path(fields["ring"]), "cpus": tuple(fields["cpus"])})
    _settle(options)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    try:
        publisher = _Publisher(options)
    except EdgekinError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1

    def stop(number: int, frame: FrameType | None) -> None:
        publisher.stopped = True

    signal.signal(signal.SIGTERM, stop)
    try:
        publisher.run()
        print(json.dumps({"report": asdict(publisher.report())}), flush=True)
    except EdgekinError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    finally:
        publisher.writer.close()
        options.ring.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
