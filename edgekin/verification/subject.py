"""What is verified: a detector that watches the frames of one stream, and what it says when it alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgekin.sim.episode import Frames


@dataclass(frozen=True)
class Alarm:
    """What a detector says has happened."""

    frame: int  # index in the stream
    kind: str = ""  # one of edgekin.robot.catalogue.CLASSES; "" where the detector cannot tell
    part: str = ""  # name of the link or joint; "" where there is none, or it cannot tell
    size: float | None = None  # in `unit`
    low: float | None = None  # of the 95% interval, in `unit`
    high: float | None = None
    unit: str = ""  # deg, percent or mm
    unidentifiable: tuple[str, ...] = ()  # the parts between which it cannot decide


class Subject(Protocol):
    """A detector. It may offer more, which is used where it is there:

    - `finding() -> Alarm | None`: its present best diagnosis, read a little after the alarm.
    - `statistic: list[float]`: of every frame of the chunk watched last; it alarms where that is high.
    - `exec_ns: list[int]`: processor time of its own work for every frame of the chunk watched last, ns.
    - `waited_for: bool`: False where a stream may end although this one has not alarmed.
    - `single(frames) -> NDArray`: a statistic (N,) of N independent poses, high where something is wrong.
    """

    name: str

    def start(self) -> None:
        """Begin a stream as a fresh, healthy detector."""

    def watch(self, frames: Frames) -> list[Alarm]:
        """Return the alarms of the next chunk of the stream; the first of a stream counts, later ones do not."""
