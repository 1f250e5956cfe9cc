"""An adapter beside a running loop: it sees the loop's frames, fits in a thread of its own and hands over what it
accepts, so that no tick waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from edgekin.detection.adaptation import Adaptation, Adapter
from edgekin.runtime.changed import ChangedBody
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.ring import Frame, RingReader

#: Pictures that an adapter looks at, a second at most: more of one pose say no more.
MOST_HZ = 60.0
WAIT_S = 0.1


@dataclass(frozen=True)
class Step:
    """A change of state."""

    at_ns: int  # CLOCK_MONOTONIC
    result: Adaptation


@dataclass(frozen=True)
class LiveReport:
    """What an adapter did beside a loop."""

    steps: tuple[Step, ...]
    pictures: int  # that it looked at
    judge_ms: tuple[float, float]  # p50 and max of its work on a picture, wall time

    @property
    def last(self) -> Adaptation:
        """The state in the end."""
        return self.steps[-1].result


class LiveAdapter:
    """The thread; a context that ends it.

    Args:
        ring: where the loop's frames come from.
        inspector: of a body of its own, at `rate_of` the camera.
        accept: `Loop.accept`, or what else takes a body over; False: not now.
        begin_with: a body that was adapted before and that the loop has already; None: the model.
    """

    def __init__(self, ring: Path, inspector: Inspector, accept: Callable[[ChangedBody | None], bool],
                 begin_with: ChangedBody | None = None) -> None:
        self._ring, self._accept = ring, accept
        self._pending: list[ChangedBody | None] = []
        self._adapter = Adapter(inspector, self._hand_over)
        if begin_with is not None:
            self._adapter.begin_with(begin_with)
        self._pending.clear()  # nothing has changed yet
        self._steps = [Step(time.monotonic_ns(), self._adapter.result)]
        self._seconds: list[float] = []
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="edgekin-adapter", daemon=True)

    def _hand_over(self, body: ChangedBody | None) -> None:
        self._pending[:] = [body]

    @property
    def state(self) -> str:
        """What it does now."""
        return self._steps[-1].result.state

    def _run(self) -> None:
        try:
            with RingReader(self._ring) as ring:
                self._follow(ring)
        except BaseException as error:
            self._failure = error

    def _follow(self, ring: RingReader) -> None:
        after, due = 0, 0.0
        while not self._stop.is_set():
            if self._pending and self._accept(self._pending[0]):
                self._pending.clear()
            time.sleep(max(due - time.monotonic(), 0.0))
            if not ring.wait(after, WAIT_S):
                continue
            due = time.monotonic() + 1 / MOST_HZ
            frame = ring.read(after)
            if frame is not None:
                after = frame.sequence
                self._show(frame)

    def _show(self, frame: Frame) -> None:
        if not frame.fresh_camera or not np.isfinite(frame.joint_pos).all():
            return
        began = time.perf_counter()
        self._adapter.judge(frame.joint_pos, frame.packed, frame.commanded)
        self._seconds.append(time.perf_counter() - began)
        if self._adapter.result is not self._steps[-1].result:
            self._steps.append(Step(time.monotonic_ns(), self._adapter.result))

    def report(self) -> LiveReport:
        """Return what it did; raises what it failed of."""
        if self._failure is not None:
            raise self._failure
        ms = 1e3 * np.array(self._seconds or [0.0])
        return LiveReport(tuple(self._steps), len(self._seconds), (float(np.median(ms)), float(ms.max())))

    def __enter__(self) -> LiveAdapter:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()


def rate_of(camera_hz: float) -> float:
    """Return how many of a camera's pictures an adapter looks at, a second."""
    return min(camera_hz, MOST_HZ)
