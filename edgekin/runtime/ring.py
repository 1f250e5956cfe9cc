"""The shared-memory ring between the robot and the loop: one writer, any readers, every frame checked."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin._ek import ffi, lib
from edgekin.errors import RuntimeFault
from edgekin.runtime.status import check

#: Set by the simulated arm from the onset of a damage on; the detector never reads it.
FRAME_DAMAGED = int(lib.EK_FRAME_DAMAGED)
FRAME_COMMANDED = int(lib.EK_FRAME_COMMANDED)


@dataclass(frozen=True)
class Frame:
    """One frame as read from the ring."""

    sequence: int  # 1, 2, 3 ... of the writer's epoch
    stamp_ns: int  # CLOCK_MONOTONIC, when the picture was taken
    publish_ns: int  # CLOCK_MONOTONIC
    joint_pos: NDArray[np.float32]  # (J,) rad, measured
    packed: NDArray[np.uint8]  # (V, H, ceil(W / 8))
    flags: int
    fresh_camera: bool  # False: new joints with the last picture
    commanded: NDArray[np.float32] | None = None  # (J,) rad, where the joints were sent; None: not known


@dataclass(frozen=True)
class RingInfo:
    """What the ring's header says."""

    n_joints: int
    n_views: int
    height: int  # px
    width: int  # px
    epoch: int
    writer_pid: int
    heartbeat_ns: int  # CLOCK_MONOTONIC
    head: int  # last published sequence
    model_hash: bytes  # 32


def shm_path(tag: str) -> Path:
    """Return a path for a ring of this process in /dev/shm, or in the temporary folder where there is none."""
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(os.environ.get("TMPDIR", "/tmp"))
    return folder / f"edgekin-{tag}-{os.getpid()}.ring"


class _Ring:
    def __init__(self, handle: Any) -> None:
        self._handle: Any = handle
        info = self.info()
        self.mask_shape = (info.n_views, info.height, (info.width + 7) // 8)
        self.n_joints = info.n_joints

    @property
    def handle(self) -> Any:
        """The `ek_ring *`.

        Raises:
            RuntimeFault: the ring was closed.
        """
        if self._handle is None:
            raise RuntimeFault("the ring is closed")
        return self._handle

    def info(self) -> RingInfo:
        """Return what the header says now."""
        raw = ffi.new("ek_ring_info *")
        check(lib.ek_ring_describe(self.handle, raw), "cannot describe the ring")
        return RingInfo(raw.n_joints, raw.n_views, raw.height, raw.width, raw.epoch, raw.writer_pid, raw.heartbeat_ns,
                        raw.head, bytes(ffi.buffer(raw.model_hash)))

    def close(self) -> None:
        """Unmap the ring; a writer also gives up its lock."""
        if self._handle is not None:
            lib.ek_ring_close(self._handle)
            self._handle = None


class RingWriter(_Ring):
    """The one writer of a ring.

    Args:
        path: file in a tmpfs, made or taken over; a second writer of the same file is refused.
        n_joints: J.
        mask_shape: (V, H, W), px.
        model_hash: up to 32 bytes that name the robot or model behind the frames.
    Raises:
        RuntimeFault: another writer holds it, or the file cannot be made.
    """

    def __init__(self, path: Path, n_joints: int, mask_shape: tuple[int, int, int], model_hash: bytes = b"") -> None:
        views, height, width = mask_shape
        status = ffi.new("int *")
        digest = ffi.new("uint8_t[32]", model_hash[:32])
        handle = lib.ek_ring_create(os.fsencode(path), n_joints, views, width, height, digest, status)
        check(status[0], f"cannot open the ring {path} for writing",
              "Stop the other writer, or choose another path.")
        self.path = path
        super().__init__(handle)
        self._frame = ffi.new("ek_frame *")

    def publish(self, joint_pos: NDArray[Any], packed: NDArray[np.uint8], stamp_ns: int | None = None,
                flags: int = 0, fresh_camera: bool = True, commanded: NDArray[Any] | None = None) -> None:
        """Publish one frame and wake the readers.

        Args:
            joint_pos: (J,) rad, measured.
            packed: (V, H, ceil(W / 8)) uint8, as numpy.packbits along x.
            stamp_ns: CLOCK_MONOTONIC when the picture was taken; None: now.
            flags: FRAME_*.
            fresh_camera: False repeats the last picture with new joints.
            commanded: (J,) rad, where the joints were sent; None: not known.
        Raises:
            RuntimeFault: a shape differs from the ring's.
        """
        if joint_pos.shape != (self.n_joints,) or packed.shape != self.mask_shape or packed.dtype != np.uint8:
            raise RuntimeFault(f"frame has joints {joint_pos.shape} and masks {packed.shape} {packed.dtype}, "
                               f"the ring holds ({self.n_joints},) and {self.mask_shape} uint8")
        frame = self._frame
        frame.stamp_ns = time.monotonic_ns() if stamp_ns is None else stamp_ns
        frame.joints[0:self.n_joints] = [float(q) for q in joint_pos]
        frame.flags = flags | (FRAME_COMMANDED if commanded is not None else 0)
        if commanded is not None:
            frame.commanded[0:self.n_joints] = [float(q) for q in commanded]
        frame.fresh_camera = int(fresh_camera)
        pixels = ffi.from_buffer("uint8_t[]", np.ascontiguousarray(packed))
        check(lib.ek_ring_publish(self.handle, frame, pixels), "cannot publish")

    def __enter__(self) -> RingWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


class RingReader(_Ring):
    """A reader of a ring; it maps the file read-only.

    Args:
        path: the writer's file.
    Raises:
        RuntimeFault: missing, of another version, or malformed.
    """

    def __init__(self, path: Path) -> None:
        status = ffi.new("int *")
        handle = lib.ek_ring_open(os.fsencode(path), status)
        check(status[0], f"cannot open the ring {path}", "Start the process that publishes the frames first.")
        super().__init__(handle)
        self.torn = 0  # reads refused because the frame was torn or its checksum wrong
        self._frame = ffi.new("ek_frame *")

    def read(self, after: int = 0) -> Frame | None:
        """Return the newest frame, or None when there is none newer than sequence `after`.

        Raises:
            RuntimeFault: the newest frame is torn or corrupt (counted in `torn`).
        """
        packed = np.empty(self.mask_shape, dtype=np.uint8)
        got = lib.ek_ring_read(self.handle, after, self._frame, ffi.from_buffer("uint8_t[]", packed))
        if got < 0:
            self.torn += 1
        if check(got, "cannot read the newest frame") == 0:
            return None
        raw = self._frame
        joint_pos = np.array(list(raw.joints)[:self.n_joints], dtype=np.float32)
        sent = np.array(list(raw.commanded)[:self.n_joints], dtype=np.float32)
        return Frame(raw.sequence, raw.stamp_ns, raw.publish_ns, joint_pos, packed, raw.flags & ~FRAME_COMMANDED,
                     bool(raw.fresh_camera), sent if raw.flags & FRAME_COMMANDED else None)

    def wait(self, after: int = 0, timeout_s: float = 1.0) -> bool:
        """Sleep until a frame newer than sequence `after` is published; False at the timeout."""
        deadline_ns = time.monotonic_ns() + int(timeout_s * 1e9)
        return check(lib.ek_ring_wait(self.handle, after, deadline_ns), "cannot wait for a frame") == 1

    def __enter__(self) -> RingReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
