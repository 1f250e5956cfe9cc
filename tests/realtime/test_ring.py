"""The ring under good and bad producers: order, shapes, torn and corrupt frames, kills, takeovers, a second writer."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from edgekin.errors import RuntimeFault
from edgekin.runtime.ring import RingReader, RingWriter

SHAPE = (2, 12, 20)  # views, height, width
PACKED = (2, 12, 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.ring"


def picture(value):
    return np.full(PACKED, value, dtype=np.uint8)


def test_a_reader_gets_the_newest_frame_as_it_was_published(path):
    with RingWriter(path, 3, SHAPE, b"robot") as writer, RingReader(path) as reader:
        assert reader.read() is None
        for i in range(1, 21):
            writer.publish(np.array([i, -i, 0.5]), picture(i), stamp_ns=1000 + i, flags=1, fresh_camera=i % 2 == 0)
        frame = reader.read(after=7)
        assert (frame.sequence, frame.stamp_ns, frame.flags, frame.fresh_camera) == (20, 1020, 1, True)
        assert frame.stamp_ns < frame.publish_ns <= time.monotonic_ns()
        np.testing.assert_array_equal(frame.joint_pos, np.float32([20, -20, 0.5]))
        np.testing.assert_array_equal(frame.packed, picture(20))
        assert reader.read(after=20) is None
        info = reader.info()
        assert (info.writer_pid, info.head, info.model_hash[:6]) == (os.getpid(), 20, b"robot\0")
        assert info.heartbeat_ns == frame.publish_ns


def test_a_waiting_reader_wakes_on_a_frame_and_gives_up_at_its_deadline(path):
    with RingWriter(path, 3, SHAPE) as writer, RingReader(path) as reader:
        assert not reader.wait(timeout_s=0.01)
        timer = threading.Timer(0.05, writer.publish, (np.zeros(3), picture(1)))
        timer.start()
        assert reader.wait(timeout_s=20)
        timer.join()
        assert reader.wait(after=0, timeout_s=0)


@pytest.mark.parametrize(("joints", "masks"), [(np.zeros(4), picture(0)), (np.zeros(3), picture(0)[:1]),
                                               (np.zeros(3), picture(0).astype(np.int8)),
                                               (np.zeros((3, 1)), picture(0))])
def test_a_frame_of_the_wrong_size_is_refused_by_the_writer(path, joints, masks):
    with RingWriter(path, 3, SHAPE) as writer, RingReader(path) as reader:
        with pytest.raises(RuntimeFault, match="the ring holds"):
            writer.publish(joints, masks)
        assert reader.read() is None


def test_a_second_writer_is_refused_and_a_later_one_starts_a_new_epoch(path):
    with RingWriter(path, 3, SHAPE) as first, RingReader(path) as reader:
        with pytest.raises(RuntimeFault, match="another writer"):
            RingWriter(path, 3, SHAPE)
        for i in range(9):
            first.publish(np.zeros(3), picture(i))
        epoch = reader.info().epoch
        assert reader.read().sequence == 9
        first.close()
        with RingWriter(path, 3, SHAPE) as second:
            assert reader.read(after=9) is None
            second.publish(np.ones(3), picture(99))
            frame = reader.read(after=9)  # a new epoch counts from 1: what was seen of the old one hides nothing
            assert (frame.sequence, frame.packed[0, 0, 0]) == (1, 99)
            assert reader.info().epoch > epoch
            assert reader.read(after=1) is None


def test_another_size_makes_a_new_file_and_leaves_old_readers_alive(path):
    first = RingWriter(path, 3, SHAPE)
    first.publish(np.zeros(3), picture(1))
    with RingReader(path) as reader:
        first.close()
        with RingWriter(path, 4, (1, 8, 8)) as second:
            second.publish(np.zeros(4), np.zeros((1, 8, 1), np.uint8))
            assert reader.read().packed[0, 0, 0] == 1
            with RingReader(path) as fresh:
                assert fresh.read().packed.shape == (1, 8, 1)


def slot_offset(path, marker):
    return path.read_bytes().index(bytes([marker] * 72))


@pytest.mark.parametrize("where", ["mask", "joints"])
def test_a_changed_byte_in_the_newest_frame_is_torn_and_counted(path, where):
    with RingWriter(path, 3, SHAPE) as writer, RingReader(path) as reader:
        writer.publish(np.array([0.1, 0.2, 0.3]), picture(0xA5))
        with path.open("r+b") as file:
            file.seek(slot_offset(path, 0xA5) + (5 if where == "mask" else -70))
            file.write(b"\x17")
        with pytest.raises(RuntimeFault, match="overwritten while it was read, or its checksum"):
            reader.read()
        assert reader.torn == 1
        writer.publish(np.zeros(3), picture(3))
        assert reader.read().sequence == 2


@pytest.mark.parametrize("damage", ["magic", "abi", "joints", "views", "huge", "short", "empty", "missing", "folder"])
def test_a_malformed_file_is_refused_by_a_reader(path, damage):
    writer = RingWriter(path, 3, SHAPE)
    content = bytearray(path.read_bytes())
    fields = {"magic": (0, b"\0"), "abi": (8, b"\x63"), "joints": (12, b"\x40"), "views": (16, b"\0"),
              "huge": (20, b"\xff\xff\xff\x7f")}
    writer.close()
    path.unlink()
    if damage in fields:
        at, value = fields[damage]
        content[at : at + len(value)] = value
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"short": content[:-1], "empty": b""}.get(damage, bytes(content)))
    with pytest.raises(RuntimeFault, match="cannot open the ring"):
        RingReader(path)


@pytest.mark.parametrize(("joints", "shape"), [(0, SHAPE), (17, SHAPE), (3, (5, 8, 8)), (3, (1, 0, 8)),
                                               (3, (1, 8, 5000))])
def test_sizes_out_of_range_are_refused_by_a_writer(path, joints, shape):
    with pytest.raises(RuntimeFault, match="argument"):
        RingWriter(path, joints, shape)
    assert not path.exists()


PUBLISHER = """
    import sys, numpy as np
    from pathlib import Path
    from edgekin.runtime.ring import RingWriter
    writer = RingWriter(Path(sys.argv[1]), 3, (2, 64, 64))
    value = 0
    while True:
        value = (value + 1) % 256
        writer.publish(np.full(3, value), np.full((2, 64, 8), value, np.uint8))
"""


def test_killed_writers_leave_only_whole_frames_and_a_free_ring(path):
    reader, reads = None, 0
    for kill in range(5):
        child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PUBLISHER), str(path)])
        try:
            last, deadline = 0, time.monotonic() + 60
            while last < 200 + 37 * kill:
                assert time.monotonic() < deadline, "the publisher never started"
                if reader is None:
                    try:
                        reader = RingReader(path)
                    except RuntimeFault:
                        time.sleep(0.01)
                        continue
                try:
                    frame = reader.read(last)
                except RuntimeFault:
                    continue  # torn, and detected: what must not happen is an undetected one
                if frame is not None and reader.info().writer_pid == child.pid:
                    last, reads = frame.sequence, reads + 1
                    assert (frame.packed == int(frame.joint_pos[0])).all()
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        newest = reader.read()  # the last whole frame survives its writer
        assert newest is None or (newest.packed == int(newest.joint_pos[0])).all()
    assert reads >= 5
    RingWriter(path, 3, (2, 64, 64)).close()
    reader.close()


def test_a_closed_ring_says_so(path):
    with RingWriter(path, 3, SHAPE) as writer:
        reader = RingReader(path)
        reader.close()
        with pytest.raises(RuntimeFault, match="closed"):
            reader.read()
        writer.close()
        with pytest.raises(RuntimeFault, match="closed"):
            writer.publish(np.zeros(3), picture(0))
