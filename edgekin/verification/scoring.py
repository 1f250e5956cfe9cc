"""What alarms are worth: delays, misses, false alarms and their bound, names, parts and sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekin.detection.calibration import Float
from edgekin.robot.cases import Case
from edgekin.robot.catalogue import CLASSES
from edgekin.robot.events import Event, event_joint
from edgekin.robot.spec import RobotSpec
from edgekin.runtime.hist import P99_9_MIN_SAMPLES
from edgekin.verification.plan import is_damage
from edgekin.verification.settings import REFINE_FRAMES
from edgekin.verification.streams import alarm_of
from edgekin.verification.subject import Alarm

Json = dict[str, Any]

#: Of bounds.
CONFIDENCE = 0.95
#: Of a damage's size -> the unit that an alarm gives it in; a drift is given as what it has come to.
UNITS = {"DEG": "deg", "PERCENT": "percent", "DEG_PER_MIN": "deg"}
#: Columns of the confusion matrices besides classes and joints.
CANNOT_TELL, UNDECIDED, NOTHING, ELSEWHERE = "cannot tell", "undecided", "no alarm", "none of them"


@dataclass(frozen=True)
class Outcome:
    """What became of one subject in one run."""

    onset: int  # frame of the first event
    frames: int  # of the stream
    alarm: Alarm | None
    finding: Alarm | None

    @property
    def early(self) -> bool:
        """Whether it alarmed before anything had happened: neither a detection nor a miss."""
        return self.alarm is not None and self.alarm.frame < self.onset

    @property
    def detected(self) -> bool:
        """Whether it alarmed after the onset."""
        return self.alarm is not None and not self.early

    @property
    def delay(self) -> int:
        """Fresh frames up to the alarm, 1 for the first that shows the event; of a miss, the rest of the stream."""
        return (self.frames if self.alarm is None else self.alarm.frame + 1) - self.onset


def outcome_of(run: Mapping[str, Any], name: str) -> Outcome | None:
    """Return what became of a subject in a run as it is kept; None where it did not watch it."""
    found = run["subjects"].get(name)
    if found is None:
        return None
    return Outcome(run["onset"], run["frames"], alarm_of(found["alarm"]), alarm_of(found["finding"]))


def poisson_upper(count: int, confidence: float = CONFIDENCE) -> float:
    """Return the largest mean that still gives so few events with a probability of 1 - confidence; 3 for none.

    Source: Garwood 1936; -ln 0.05 = 2.996 is the rule of three.
    """
    if count == 0 and confidence == CONFIDENCE:
        return 3.0
    return _bisect(lambda mean: poisson_cdf(count, mean) > 1.0 - confidence, count + 10 * math.sqrt(count + 1) + 20)


def poisson_lower(count: int, confidence: float = CONFIDENCE) -> float:
    """Return the smallest mean that still gives so many events with a probability of 1 - confidence."""
    if count == 0:
        return 0.0
    return _bisect(lambda mean: 1.0 - poisson_cdf(count - 1, mean) < 1.0 - confidence, count + 1.0)


def poisson_cdf(count: int, mean: float) -> float:
    """Return the probability of at most so many events."""
    if mean <= 0:
        return 1.0
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


def _bisect(below: Any, high: float) -> float:
    low = 0.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return high


def false_alarms(streams: Iterable[Mapping[str, Any]], name: str, camera_hz: float) -> Json:
    """Return how often a subject alarmed on healthy streams; a stream ends with its alarm.

    Args:
        streams: as they are kept; those that it did not watch are left out.
        name: of the subject.
        camera_hz: frames a second.
    """
    watched = [stream["subjects"][name] for stream in streams if name in stream["subjects"]]
    frames, kinds = sum(found["frames"] for found in watched), [found["alarm"] for found in watched if found["alarm"]]
    hours, count = frames / camera_hz / 3600, len(kinds)
    by_class = {kind: sum(alarm.get("kind", "") == kind for alarm in kinds) for kind in (*CLASSES, "")}
    return {"hours": round(hours, 5), "frames": frames, "streams": len(watched), "alarms": count,
            "by_class": {kind or CANNOT_TELL: n for kind, n in by_class.items() if n},
            "rate_per_hour": round(count / hours, 4) if hours else None,
            "rate_bound_per_hour": round(poisson_upper(count) / hours, 4) if hours else None,
            "arl0_frames": round(frames / count) if count else None,
            "arl0_bound_frames": round(frames / poisson_upper(count))}


def delays(outcomes: Sequence[Outcome], camera_hz: float) -> Json:
    """Return median and p95 of the delays, missed runs counted as their streams' length, and shares of the runs."""
    counted = [o.delay for o in outcomes if not o.early]
    median, p95 = (None, None) if not counted else (float(np.percentile(counted, p)) for p in (50, 95))
    ms = 1000.0 / camera_hz
    return {"n": len(outcomes), "median_frames": median, "p95_frames": p95,
            "median_ms": None if median is None else round(median * ms, 1),
            "p95_ms": None if p95 is None else round(p95 * ms, 1),
            "missed": _share(sum(o.alarm is None for o in outcomes), len(outcomes)),
            "early": _share(sum(o.early for o in outcomes), len(outcomes))}


def _share(count: int, of: int) -> float | None:
    return round(count / of, 4) if of else None


class Judge:
    """Says of a finding on a robot whether class, part and size are right.

    Args:
        robot: whose parts are named.
        camera_hz: frames a second.
    """

    def __init__(self, robot: RobotSpec, camera_hz: float) -> None:
        self.robot, self.camera_hz = robot, camera_hz
        self.numbers: dict[str, int] = {}
        for number, joint in enumerate(robot.actuated, 1):
            self.numbers |= {joint.name: number, robot.links[joint.child].name: number}

    def parts(self, event: Event) -> set[str]:
        """The names of which any is right: the joint and the link behind it."""
        if not event.entry.target:
            return set()
        joint = self.robot.joints[event_joint(self.robot, event)]
        return {joint.name, self.robot.links[joint.child].name}

    def case_parts(self, case: Case) -> set[str]:
        """The same of all events of a case."""
        return set().union(*(self.parts(event) for event in case.events))

    def true_size(self, event: Event, outcome: Outcome) -> tuple[str, float] | None:
        """The size of an event when its finding was read, and its unit; None where it has none."""
        unit = UNITS.get(event.entry.number)
        if unit is None or not event.entry.target or outcome.alarm is None:
            return None
        if event.entry.number != "DEG_PER_MIN":
            return unit, abs(event.size)
        read = min(outcome.alarm.frame + REFINE_FRAMES, outcome.frames - 1)
        return unit, abs(event.size) / 60.0 * (read - outcome.onset) / self.camera_hz

    def size_error(self, case: Case, outcome: Outcome) -> tuple[float, bool | None] | None:
        """How far the size is off, its sign aside, and whether the interval holds the true one; None: nothing to say.

        Which way is positive is a convention of the detector's, and only a size of the right part says anything.
        """
        found = outcome.finding
        if len(case.events) != 1 or found is None or found.size is None or found.part not in self.case_parts(case):
            return None
        true = self.true_size(case.events[0], outcome)
        if true is None or true[0] != found.unit:
            return None
        error = abs(abs(found.size) - true[1])
        if found.low is None or found.high is None:
            return error, None
        low, high = sorted((found.low, found.high)) if found.size >= 0 else sorted((-found.high, -found.low))
        return error, low <= true[1] <= high

    def score(self, case: Case, outcomes: Sequence[Outcome]) -> Json:
        """Return one line of the result: one damage, all its runs."""
        event, parts = case.events[0], self.case_parts(case)
        found = [(o, o.finding) for o in outcomes if o.detected and o.finding is not None]
        undecided = [f for _, f in found if f.unidentifiable]
        decided = [f for _, f in found if not f.unidentifiable]
        sizes = [size for o, _ in found if (size := self.size_error(case, o)) is not None]
        held = [inside for _, inside in sizes if inside is not None]
        number = self.numbers.get(next(iter(self.parts(event)), ""))
        return {
            "damage": case.name, "kind": event.kind, "size": event.size or None, "joint": number,
            "unit": event.entry.number, "classes": list(case.classes), **delays(outcomes, self.camera_hz),
            "class_right": _share(sum(f.kind in case.classes for _, f in found), len(found)),
            "isolation_top1": _share(sum(f.part in parts for f in decided), len(decided)) if parts else None,
            "found": len(found), "decided": len(decided) if parts else None,
            "abstained": _share(len(undecided), len(found)) if parts else None,
            "abstained_right": _share(sum(bool(parts & set(f.unidentifiable)) for f in undecided), len(undecided)),
            "size_error": round(float(np.median([e for e, _ in sizes])), 4) if sizes else None,
            "interval_right": _share(sum(held), len(held))}

    def nuisance(self, case: Case, outcomes: Sequence[Outcome]) -> Json:
        """Return the same of what is no damage."""
        kinds = [o.finding.kind for o in outcomes if o.detected and o.finding is not None]
        must = any(event.entry.must_alarm for event in case.events)
        named = sum(kind in case.classes for kind in kinds)
        return {"name": case.name, "classes": list(case.classes), "must_alarm": must, "n": len(outcomes),
                "alarms": len(kinds), "body_alarms": sum(kind == CLASSES[0] for kind in kinds),
                "early": sum(o.early for o in outcomes), "named_right": named if must else None, "named": named,
                "median_frames": delays(outcomes, self.camera_hz)["median_frames"]}

    def confusion(self, runs: Iterable[tuple[Case, Outcome]]) -> Json:
        """Return what was called what: classes of every case, joints of every damage that has one."""
        names = [joint.name for joint in self.robot.actuated]
        said = [*CLASSES, CANNOT_TELL, NOTHING]
        where = [*names, ELSEWHERE, UNDECIDED, NOTHING]
        classes, parts = np.zeros((len(CLASSES), len(said)), int), np.zeros((len(names), len(where)), int)
        for case, outcome in runs:
            if outcome.early:
                continue
            found = outcome.finding if outcome.detected else None
            kind = NOTHING if found is None else found.kind or CANNOT_TELL
            classes[CLASSES.index(case.classes[0]), said.index(kind)] += 1
            true = self.numbers.get(next(iter(self.parts(case.events[0])), ""))
            if is_damage(case) and true is not None:
                parts[true - 1, where.index(self._where(found, names))] += 1
        return {"classes": {"true": list(CLASSES), "said": said, "counts": classes.tolist()},
                "joints": {"true": names, "said": where, "counts": parts.tolist()}}

    def _where(self, found: Alarm | None, names: list[str]) -> str:
        if found is None:
            return NOTHING
        if found.unidentifiable:
            return UNDECIDED
        number = self.numbers.get(found.part)
        return ELSEWHERE if number is None else names[number - 1]


def auc(healthy: Sequence[float], other: Sequence[float]) -> float:
    """Return the probability that one of the others is higher than a healthy one, ties counted half (Mann-Whitney)."""
    pooled = np.concatenate([healthy, other])
    _, inverse, counts = np.unique(pooled, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n, m = len(healthy), len(other)
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))


def time_percentiles(counts: Mapping[int, int]) -> Json | None:
    """Return p50, p99, p99.9 and the largest of times, us, from counts by ns; None where there are none."""
    if not counts:
        return None
    ns = np.array(sorted(counts))
    ranks = np.cumsum([counts[int(t)] for t in ns])
    total = int(ranks[-1])

    def at(share: float) -> float:
        return round(float(ns[np.searchsorted(ranks, math.ceil(share * total))]) / 1e3, 3)

    return {"p50": at(0.5), "p99": at(0.99), "p99_9": at(0.999) if total >= P99_9_MIN_SAMPLES else None,
            "max": at(1.0), "n": total}


def alarm_rate(peaks: Float, threshold: float, stream_hours: float) -> float:
    """Return alarms an hour at a threshold: -ln(1 - share) / length, of the largest statistics of streams (S,).

    Half an alarm is taken off where every stream exceeds it: the rate is then beyond what streams of that length tell.
    """
    share = float((peaks > threshold).mean())
    return -math.log(1.0 - min(share, 1.0 - 0.5 / len(peaks))) / stream_hours
