"""The loop from Python, with a real engine, ring and detector: damage, dead and broken producers, and its report."""

import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from edgekin.errors import RuntimeFault
from edgekin.runtime.detector import DetectorConfig, NativeDetector
from edgekin.runtime.loop import Loop, LoopConfig
from edgekin.runtime.ring import FRAME_DAMAGED, RingReader, RingWriter
from edgekin.runtime.status import status_code
from tests.realtime.ticking import Ticking

SHAPE, PACKED = (1, 12, 20), (1, 12, 3)
EMPTY, FULL = np.zeros(PACKED, np.uint8), np.full(PACKED, 255, np.uint8)
JOINTS = np.array([0.1, -0.2, 0.3])
PATIENCE_S = 60.0


def detector(**changes):
    """Residual of an empty picture: log(1 + e^-2) = 0.127 nats per pixel."""
    fields = {"centroids": [[0.0, 0.0, 0.0]], "mean": [0.127], "std": [0.1], "k": 1.0, "h": 20.0, "z_clip": 6.0,
              "joint_min_rad": [-2.0] * 3, "joint_max_rad": [2.0] * 3, "bad_frames_to_unknown": 3,
              "stale_ns": 2_000_000_000, "frozen_frames": 0, "frozen_motion_rad": 0.1}
    return NativeDetector(DetectorConfig.from_json({**fields, **changes}))


def settings(**changes):
    return LoopConfig(**{"duration_s": 0.0, "fifo_priority": 0, "warmup_ticks": 0, "lock_memory": False, **changes})


def until(condition):
    """Publishers and verdicts are asynchronous: wait for what must come, and fail only when it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


@pytest.fixture
def ring(tmp_path):
    with RingWriter(tmp_path / "loop.ring", 3, SHAPE) as writer, RingReader(tmp_path / "loop.ring") as reader:
        yield writer, reader


class Publisher(Ticking):
    """Publishes what `frame(i)` gives (joints, mask, flags) every millisecond until stopped."""

    def __init__(self, writer, frame):
        super().__init__(0.001)
        self.writer, self.frame = writer, frame

    def tick(self, i):
        joints, mask, flags = self.frame(i)
        self.writer.publish(joints, mask, flags=flags)


@pytest.mark.parametrize("spin_us", [0.0, 250.0])
@pytest.mark.parametrize("mode", ["event", "timer"])
def test_damage_is_found_and_nothing_before_it(engine, ring, mode, spin_us):
    writer, reader = ring
    broken = threading.Event()
    loop = Loop(engine, reader, detector(), settings(mode=mode, spin_us=spin_us))
    with loop, Publisher(writer, lambda i: (JOINTS, FULL, FRAME_DAMAGED) if broken.is_set() else (JOINTS, EMPTY, 0)):
        loop.start()
        until(lambda: loop.verdict().name == "healthy")
        broken.set()
        until(lambda: loop.verdict().name == "damaged")
        loop.stop()
        assert loop.join(PATIENCE_S)
    report = loop.report()
    assert loop.verdict().name == "unknown"  # a stopped loop vouches for nothing
    assert report.last.name == "damaged"
    assert report.detection.false_alarms == 0
    assert report.detection.alarm_sequence >= report.detection.damaged_sequence > 0
    assert report.latency.frames == report.latency.exec.n == report.latency.frame_to_verdict.n
    assert report.iou == 1.0
    assert report.psnr_db == pytest.approx(20 * np.log10(1 + np.exp(2)), abs=0.01)
    misses = report.latency.misses
    assert misses.count == misses.own + misses.preempted + misses.stolen + misses.unknown
    assert sum(report.verdict_shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("spin_us", [0.0, 400.0])
def test_deadlines_between_slow_frames_age_the_verdict_and_miss_no_frame(engine, ring, spin_us):
    writer, reader = ring
    config = settings(hz=5000.0, frame_hz=1000.0, spin_us=spin_us)
    with Publisher(writer, lambda i: (JOINTS, EMPTY, 0)), Loop(engine, reader, detector(), config) as loop:
        loop.start()
        until(lambda: loop.verdict().sequence >= 300)
        loop.stop()
        assert loop.join(PATIENCE_S)
        latency = loop.report().latency
    assert latency.idle_ticks > 0
    assert latency.ticks == latency.frames + latency.idle_ticks + latency.torn_frames
    assert latency.frames + latency.frames_skipped >= 290
    assert latency.exec.n == latency.frames  # deadlines without a frame are not executions


def test_an_alarm_without_damage_is_a_false_alarm(engine, ring):
    writer, reader = ring
    loop = Loop(engine, reader, detector(), settings())
    with loop, Publisher(writer, lambda i: (JOINTS, FULL, 0)):
        loop.start()
        until(lambda: loop.verdict().name == "damaged")
        loop.stop()
        loop.join(PATIENCE_S)
    assert loop.report().detection.false_alarms == 1
    assert loop.report().detection.alarm_sequence == 0


def test_a_frozen_camera_is_a_fault(engine, ring):
    writer, reader = ring
    loop = Loop(engine, reader, detector(frozen_frames=5, frozen_motion_rad=0.2), settings())
    with loop, Publisher(writer, lambda i: (JOINTS + 1.5 * np.sin(i / 50), EMPTY, 0)):
        loop.start()
        until(lambda: loop.verdict().name == "fault")
        assert loop.verdict().reason_name == "frozen"
        loop.stop()
        loop.join(PATIENCE_S)


def test_a_corrupted_frame_is_counted_and_the_loop_goes_on(engine, ring):
    writer, reader = ring
    loop = Loop(engine, reader, detector(), settings())
    marked = np.full(PACKED, 0xA5, np.uint8)
    writer.publish(JOINTS, marked)
    with writer.path.open("r+b") as file:
        file.seek(writer.path.read_bytes().index(marked.tobytes()))
        file.write(b"\0")
    created_ns = loop.verdict().decided_ns
    with loop:
        loop.start()
        until(lambda: loop.verdict().decided_ns > created_ns)  # it has met the corrupted frame before better ones come
        with Publisher(writer, lambda i: (JOINTS, EMPTY, 0)):
            until(lambda: loop.verdict().name == "healthy")
        loop.stop()
        loop.join(PATIENCE_S)
    assert loop.report().latency.torn_frames == 1


def test_frames_from_the_future_and_the_past_are_no_evidence(engine, ring):
    writer, reader = ring
    loop = Loop(engine, reader, detector(), settings())
    with loop:
        loop.start()
        _reject_both(loop, writer)


def _reject_both(loop, writer):
    for offset_s in (60, -60):
        before = loop.verdict().rejected

        def publish_and_look(offset_s=offset_s, before=before):
            writer.publish(JOINTS, EMPTY, stamp_ns=time.monotonic_ns() + offset_s * 10**9)
            return loop.verdict().rejected > before + 3

        until(publish_and_look)
        assert loop.verdict().name == "unknown"
        assert loop.verdict().reason == status_code("clock" if offset_s > 0 else "stale")


PRODUCER = """
    import sys, time, numpy as np
    from pathlib import Path
    from edgekin.runtime.ring import RingWriter
    writer = RingWriter(Path(sys.argv[1]), 3, (1, 12, 20))
    while True:
        writer.publish(np.zeros(3), np.zeros((1, 12, 3), np.uint8))
        time.sleep(0.001)
"""


def test_a_killed_producer_makes_the_verdict_unknown_and_its_successor_healthy_again(engine, tmp_path):
    path = tmp_path / "dead.ring"

    def produce():
        return subprocess.Popen([sys.executable, "-c", textwrap.dedent(PRODUCER), str(path)])

    child = produce()
    try:
        until(path.exists)
        reader = _open(path)
        loop = Loop(engine, reader, detector(stale_ns=300_000_000), settings())
        loop.start()
        until(lambda: loop.verdict().name == "healthy")
        child.send_signal(signal.SIGKILL)
        child.wait()
        until(lambda: loop.verdict().name == "unknown")
        until(lambda: loop.verdict().reason_name == "stale")
        child = produce()
        until(lambda: loop.verdict().name == "healthy")
        loop.stop()
        loop.join(PATIENCE_S)
        reader.close()
    finally:
        child.kill()
        child.wait()


def _open(path):
    opened = []

    def attempt():
        try:
            opened.append(RingReader(path))
        except RuntimeFault:
            return False
        return True

    until(attempt)
    return opened[0]


def test_misuse_is_refused(engine, ring, tmp_path):
    _, reader = ring
    with pytest.raises(RuntimeFault, match="expected event or timer"):
        Loop(engine, reader, detector(), settings(mode="often"))
    # A thread that spins more than half of its time would leave the rest of the system nothing.
    for wrong in ({"hz": 0}, {"frame_hz": -1.0}, {"frame_hz": float("nan")}, {"hz": 1000.0, "spin_us": 501.0},
                  {"hz": 1000.0, "frame_hz": 5000.0, "spin_us": 101.0}):
        with pytest.raises(RuntimeFault, match="argument"):
            Loop(engine, reader, detector(), settings(**wrong))
    with RingWriter(tmp_path / "other.ring", 3, (1, 12, 28)), RingReader(tmp_path / "other.ring") as other, \
            pytest.raises(RuntimeFault, match="cameras that the bundle was trained for"):
        Loop(engine, other, detector(), settings())
    loop = Loop(engine, reader, detector(), settings())
    loop.start()
    with pytest.raises(RuntimeFault, match="already"):
        loop.start()
    with pytest.raises(RuntimeFault, match="still runs"):
        loop.report()
    loop.stop()
    assert loop.join(PATIENCE_S)


def test_what_is_not_permitted_is_reported_with_a_reason(engine, ring):
    loop = Loop(engine, ring[1], detector(), settings(cpu=100_000, duration_s=0.01))
    loop.start()
    assert loop.join(PATIENCE_S)
    permissions = loop.report().permissions
    assert permissions["affinity CPU 100000"].startswith("no: Invalid argument; no such CPU")
    assert permissions["SCHED_FIFO 0"] == "not asked"
    assert permissions["timer slack 1 ns"] == "yes"
