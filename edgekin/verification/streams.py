"""The streams of a verification, and subjects that watch one together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgekin.robot.cases import Case
from edgekin.robot.spec import RobotSpec
from edgekin.sim.episode import BLOCK, Episode, Frames, seed_of
from edgekin.verification.settings import AFTER_S, ONSET_S, REFINE_FRAMES, STREAM_S
from edgekin.verification.subject import Alarm, Subject

#: Digits of a stored statistic.
DIGITS = 6
#: Bits of a stored time: 1/128 of its value, as in the loop's histograms.
TIME_BITS = 8


def healthy_stream(robot: RobotSpec, camera_hz: float, seed: int, purpose: str, number: int) -> Episode:
    """Return a stream on which nothing happens; purpose is `calibration` or `healthy`."""
    return Episode(robot, (), camera_hz, STREAM_S, seed_of(seed, purpose, number))


def case_stream(robot: RobotSpec, case: Case, camera_hz: float, seed: int, run: int) -> Episode:
    """Return a run of a case: its own trajectory, its own onset."""
    own = seed_of(seed, f"case {case.name}", run)
    onset = float(np.random.default_rng([own, 1]).uniform(*ONSET_S))
    events = case.starting(onset).events
    return Episode(robot, events, camera_hz, events[-1].onset_s + AFTER_S, own)


@dataclass
class Watched:
    """What became of one subject on one stream."""

    alarm: Alarm | None = None  # the first
    finding: Alarm | None = None  # what it makes of it REFINE_FRAMES later; the alarm itself where it says no more
    frames: int = 0  # watched
    before: float | None = None  # largest statistic before the onset; None: it offers none
    records: list[tuple[int, float]] = field(default_factory=list)  # (frames after the onset, a new largest statistic)
    times: Counter[int] = field(default_factory=Counter)  # of a frame, ns, in steps of 1/128

    def to_json(self) -> dict[str, Any]:
        """Return what is kept of it; times are kept apart."""
        return {"alarm": _alarm_json(self.alarm), "finding": _alarm_json(self.finding), "frames": self.frames,
                "before": self.before, "records": [list(record) for record in self.records]}


def _alarm_json(alarm: Alarm | None) -> dict[str, Any] | None:
    return None if alarm is None else {k: v for k, v in asdict(alarm).items() if v not in (None, "", ())}


def alarm_of(content: dict[str, Any] | None) -> Alarm | None:
    """Read an alarm as `Watched.to_json` writes it."""
    if content is None:
        return None
    return Alarm(**{**content, "unidentifiable": tuple(content.get("unidentifiable", ()))})


class _Watcher:
    """One subject on one stream, until it needs no more of it.

    Args:
        subject: begins anew.
        onset: frame of the first event.
        refine: frames after the alarm when its finding is read, where it offers one.
    """

    def __init__(self, subject: Subject, onset: int, refine: int) -> None:
        self.subject, self.onset = subject, onset
        self.finding = getattr(subject, "finding", None) if refine else None
        #: Frames handed over at once: few enough for a finding to be read on its frame.
        self.refine, self.part = (refine, refine) if self.finding is not None else (0, BLOCK)
        self.found, self.open = Watched(), True
        subject.start()

    def feed(self, frames: Frames) -> None:
        """Watch a chunk, or as much of it as is wanted."""
        begin = 0
        while self.open and begin < len(frames):
            alarm, end = self.found.alarm, min(begin + self.part, len(frames))
            if alarm is not None:
                end = min(end, alarm.frame + self.refine + 1 - frames.first)
            whole = (begin, end) == (0, len(frames))
            self._watch(frames if whole else frames[begin:end])
            begin = end

    def _watch(self, frames: Frames) -> None:
        found = self.found
        alarms = self.subject.watch(frames)
        found.frames = frames.first + len(frames)
        found.times.update(map(_coarse, getattr(self.subject, "exec_ns", ())))
        self._keep(frames.first, getattr(self.subject, "statistic", ()))
        if found.alarm is None and alarms:
            found.alarm = alarms[0]
        if found.alarm is not None and found.frames > found.alarm.frame + self.refine:
            self.close()

    def _keep(self, first: int, statistic: Sequence[float]) -> None:
        """Keep the largest statistic before the onset, and every new largest one after it."""
        found, healthy = self.found, max(0, self.onset - first)
        if statistic and healthy:
            highest = short(max(statistic[:healthy]))
            found.before = highest if found.before is None else max(found.before, highest)
        for index, value in enumerate(statistic[healthy:], max(first - self.onset, 0)):
            if not found.records or value > found.records[-1][1]:
                found.records.append((index, short(value)))

    def close(self) -> None:
        """The stream ends for this subject."""
        self.open, found = False, self.found
        if found.alarm is not None:
            found.finding = (self.finding() if self.finding is not None else None) or found.alarm
            if self.finding is None:  # what it watched beyond, in the same chunk, changes nothing
                found.frames = found.alarm.frame + 1


def short(value: float) -> float:
    """Return a statistic as it is stored."""
    return float(f"{value:.{DIGITS}g}")


def _coarse(time_ns: int) -> int:
    """Drop what is below 1/128 of a time."""
    shift = max(0, time_ns.bit_length() - TIME_BITS)
    return time_ns >> shift << shift


def follow(stream: Episode, subjects: Iterable[Subject], refine: int = REFINE_FRAMES) -> dict[str, Watched]:
    """Let subjects watch a stream, each until its alarm, and return what became of them by name.

    Args:
        stream: drawn as far as anybody needs it.
        subjects: each of a name of its own.
        refine: frames after an alarm until its finding is read; 0: it is not wanted.
    """
    watchers = [_Watcher(subject, stream.onset_frame, refine) for subject in subjects]
    for frames in stream:
        for watcher in watchers:
            watcher.feed(frames)
        if not any(w.open and getattr(w.subject, "waited_for", True) for w in watchers):
            break
    for watcher in watchers:
        if watcher.open:
            watcher.close()
    return {watcher.subject.name: watcher.found for watcher in watchers}
