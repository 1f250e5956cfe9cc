"""The beginning of one damage as a few pictures: what is seen, what the self-model expects, and the evidence."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekin.report.pictures import ENCODING, packed_picture
from edgekin.sim.episode import Episode, Frames
from edgekin.verification.observed import Observer
from edgekin.verification.streams import short
from edgekin.verification.subject import Alarm, Subject

#: Shown before the onset and after the alarm, s.
BEFORE_S, AFTER_S = 1.0, 1.0
#: Where there is no alarm, so much of the damage is shown, s.
WITHOUT_S = 5.0


def example(stream: Episode, subject: Subject, observer: Observer) -> dict[str, Any]:
    """Return pictures and evidence around an onset, JSON-ready.

    Args:
        stream: with one onset.
        subject: watches it.
        observer: knows what the self-model expects.
    """
    subject.start()
    parts, statistic, residual, alarm = list[Frames](), list[float](), list[float](), None
    for frames in stream:
        alarms = subject.watch(frames)
        alarm = alarm or (alarms[0] if alarms else None)
        parts.append(frames)
        statistic += getattr(subject, "statistic", [])
        residual += observer.of(frames).nll.tolist()
        if len(residual) > _end(stream, alarm):
            break
    onset = stream.onset_frame
    begin = max(0, onset - round(BEFORE_S * stream.camera_hz))
    end = min(len(residual), _end(stream, alarm) + 1)
    return {"onset": onset, "alarm": None if alarm is None else alarm.frame, "camera_hz": stream.camera_hz,
            "first": begin, "statistic": [short(value) for value in statistic[begin:end]],
            "residual": [short(value) for value in residual[begin:end]],
            "shape": [stream.robot.cameras[0].height, stream.robot.cameras[0].width],
            "encoding": ENCODING, "pictures": [_picture(parts, number, stream, observer)
                                               for number in _moments(begin, onset, alarm, end - 1)]}


def _end(stream: Episode, alarm: Alarm | None) -> int:
    """The last frame that is shown."""
    hz, onset = stream.camera_hz, stream.onset_frame
    if alarm is None or alarm.frame < onset:
        return onset + round(WITHOUT_S * hz)
    return alarm.frame + round(AFTER_S * hz)


def _moments(begin: int, onset: int, alarm: Alarm | None, last: int) -> list[int]:
    """The last healthy frame, the first damaged one, some between it and the alarm, and the end."""
    until = alarm.frame if alarm is not None and alarm.frame > onset else last
    between = np.linspace(onset, until, 3).round().astype(int).tolist()
    return sorted({begin, max(begin, onset - 1), *between, last})


def _picture(parts: list[Frames], number: int, stream: Episode, observer: Observer) -> dict[str, Any]:
    part = next(p for p in parts if p.first <= number < p.first + len(p))
    index, width = number - part.first, stream.robot.cameras[0].width
    seen = np.unpackbits(part.masks[index, 0], axis=-1, count=width)
    return {"frame": number, "seen": packed_picture(seen),
            "expected": packed_picture(observer.picture(part.joint_pos[index])[0])}
