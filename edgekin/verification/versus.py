"""All subjects on the streams that all of them watched: a table, and delay against the rate of false alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekin.robot.cases import Case
from edgekin.robot.catalogue import BODY
from edgekin.verification.plan import is_damage
from edgekin.verification.scoring import (
    Json,
    alarm_rate,
    delays,
    false_alarms,
    outcome_of,
    poisson_lower,
    time_percentiles,
)
from edgekin.verification.settings import STREAM_S

Run = Mapping[str, Any]  # as it is kept

#: Points of an operating curve.
CURVE_POINTS = 24


@dataclass(frozen=True)
class Shared:
    """What every subject watched."""

    streams: Sequence[Run]  # healthy
    runs: Sequence[tuple[Case, Run]]  # of cases
    camera_hz: float

    @classmethod
    def of(cls, streams: Sequence[Run], runs: Sequence[tuple[Case, Run]], camera_hz: float) -> Shared:
        """Return the streams and runs that most subjects watched."""
        most = max((len(stream["subjects"]) for stream in streams), default=0)
        return cls([stream for stream in streams if len(stream["subjects"]) == most],
                   [(case, run) for case, run in runs if len(run["subjects"]) == most], camera_hz)

    @property
    def names(self) -> list[str]:
        """The subjects, the verified one first."""
        return list(self.streams[0]["subjects"]) if self.streams else []

    @property
    def damages(self) -> list[tuple[Case, Run]]:
        """The runs of damages."""
        return [(case, run) for case, run in self.runs if is_damage(case)]

    def row(self, name: str, threshold: float | None, times: Mapping[int, int]) -> Json:
        """Return what a subject did: false alarms, delays over all damages and by kind, alarms on nuisances."""
        healthy = false_alarms(self.streams, name, self.camera_hz)
        by_kind: dict[str, list[Any]] = {}
        for case, run in self.damages:
            by_kind.setdefault(case.events[0].kind, []).append(outcome_of(run, name))
        others = [outcome_of(run, name) for case, run in self.runs if not is_damage(case)]
        called = [o.finding.kind for o in others if o is not None and o.detected and o.finding is not None]
        every = [outcome for outcomes in by_kind.values() for outcome in outcomes]
        return {"threshold": threshold, "healthy_hours": healthy["hours"], "healthy_alarms": healthy["alarms"],
                "rate_per_hour": healthy["rate_per_hour"], "rate_bound_per_hour": healthy["rate_bound_per_hour"],
                **delays(every, self.camera_hz),
                "median_frames_by_kind": {kind: delays(found, self.camera_hz)["median_frames"]
                                          for kind, found in by_kind.items()},
                "nuisance_runs": len(others), "nuisance_alarms": len(called),
                "nuisance_body_alarms": called.count(BODY), "exec_us": time_percentiles(times)}

    def curve(self, name: str) -> list[Json]:
        """Return rates of false alarms and delays at thresholds up to the subject's own; empty where it has none.

        Above its own threshold nothing is known: its streams end with its alarm.
        """
        found = [stream["subjects"][name] for stream in self.streams]
        if not found or any(entry["before"] is None for entry in found) or not self.damages:
            return []
        peaks = np.array([entry["before"] for entry in found])
        quiet = np.unique([entry["before"] for entry in found if entry["alarm"] is None])
        if len(quiet) == 0:
            return []
        chosen = quiet[np.unique(np.linspace(0, len(quiet) - 1, CURVE_POINTS).round().astype(int))]
        return [self._point(name, float(threshold), peaks) for threshold in chosen[::-1]]

    def _point(self, name: str, threshold: float, peaks: Any) -> Json:
        delayed, missed, early = [], 0, 0
        for _, run in self.damages:
            entry = run["subjects"][name]
            if entry["before"] is not None and entry["before"] > threshold:
                early += 1
                continue
            first = next((after for after, value in entry["records"] if value > threshold), None)
            missed += first is None
            delayed.append(run["frames"] - run["onset"] if first is None else first + 1)
        return {"threshold": threshold, "rate_per_hour": round(alarm_rate(peaks, threshold, STREAM_S / 3600), 3),
                "median_frames": float(np.median(delayed)) if delayed else None,
                "missed": round(missed / len(self.damages), 4), "early": round(early / len(self.damages), 4)}


def keeps_to(row: Json, alarms_per_hour: float) -> bool:
    """Tell whether a detector may have this rate of false alarms: the 95% bound from below of what was seen allows it.

    One without a delay, because it always alarms too early, does not.
    """
    hours = row["healthy_hours"]
    return bool(row["median_frames"] is not None and hours
                and poisson_lower(row["healthy_alarms"]) / hours <= alarms_per_hour)


def best_of(rows: Mapping[str, Json], alarms_per_hour: float) -> str | None:
    """Return the baseline with the least median delay among those that may keep to a rate of false alarms, or None."""
    kept = [name for name, row in rows.items() if keeps_to(row, alarms_per_hour)]
    return min(kept, key=lambda name: float(rows[name]["median_frames"]), default=None)
