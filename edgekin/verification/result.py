"""The result of a verification, put together from its pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from edgekin.machine import describe, revision
from edgekin.robot.cases import Case
from edgekin.verification.plan import CASE, EXAMPLE, HEALTHY, SINGLE, Plan, is_damage
from edgekin.verification.scoring import Json, Judge, Outcome, auc, false_alarms, outcome_of, time_percentiles
from edgekin.verification.versus import Shared, best_of, keeps_to
from edgekin.verification.work import Bench

SCHEMA = "edgekin.verify/1"
#: Digits of shares.
DIGITS = 4


class Pieces:
    """The finished pieces of a plan, by kind, and what the result takes from them.

    Args:
        plan: of which all are finished.
        pieces: by key.
    """

    def __init__(self, plan: Plan, pieces: Mapping[str, Json]) -> None:
        by_kind: dict[str, list[Json]] = {}
        for unit in plan.units:
            by_kind.setdefault(unit.kind, []).append(pieces[unit.key])
        self.all = [pieces[unit.key] for unit in plan.all_units]
        self.streams, self.single = by_kind.get(HEALTHY, []), by_kind.get(SINGLE, [])
        self.example = by_kind[EXAMPLE][0]
        named = {case.name: case for case in plan.cases}
        self.runs = [(named[piece["case"]], run) for piece in by_kind.get(CASE, []) for run in piece["runs"]]

    def outcomes(self, case: Case, name: str) -> list[Outcome]:
        """Return what became of a subject in all runs of a case."""
        found = (outcome_of(run, name) for other, run in self.runs if other is case)
        return [outcome for outcome in found if outcome is not None]

    def times(self, name: str) -> Counter[int]:
        """Return a subject's times of a frame: counts by ns."""
        total = Counter[int]()
        for piece in self.all:
            total.update({int(ns): count for ns, count in piece.get("times_ns", {}).get(name, {}).items()})
        return total

    def aucs(self) -> Json:
        """Return, by case and subject, how well single frames are told from healthy ones."""
        healthy: Json = next((piece["scores"] for piece in self.single if not piece["case"]), {})
        return {piece["case"]: {name: round(auc(healthy[name], scores), DIGITS)
                                for name, scores in piece["scores"].items()}
                for piece in self.single if piece["case"] and piece["scores"]}


def _isolation(cases: Sequence[Json]) -> tuple[float | None, float | None]:
    """Return the share of right parts among all decided findings, and that of undecided ones among all findings."""
    told = [case for case in cases if case["decided"] is not None]
    decided, found = (sum(case[field] for case in told) for field in ("decided", "found"))
    right = sum(case["decided"] * case["isolation_top1"] for case in told if case["decided"])
    return (round(right / decided, DIGITS) if decided else None,
            round(1.0 - decided / found, DIGITS) if found else None)


def build(bench: Bench, plan: Plan, pieces: Mapping[str, Json]) -> Json:
    """Return the result, schema edgekin.verify/1.

    Args:
        bench: settings, bundle, robot and subjects.
        plan: all of it is finished.
        pieces: by key.
    """
    config, found, robot, main = bench.setting.config, Pieces(plan, pieces), bench.robot, bench.subjects[0].name
    judge = Judge(robot, config.camera_hz)
    outcomes = {case.name: found.outcomes(case, main) for case in plan.cases}
    cases = [judge.score(case, outcomes[case.name]) for case in plan.cases if is_damage(case)]
    every = [(case, outcome) for case in plan.cases for outcome in outcomes[case.name]]
    isolation, abstained = _isolation(cases)
    shared = Shared.of(found.streams, found.runs, config.camera_hz)
    rows = {name: shared.row(name, dict(bench.setting.thresholds).get(name), found.times(name))
            for name in shared.names}
    baselines = {name: row for name, row in rows.items() if name != main}
    best = best_of(baselines, config.false_alarms_per_hour)
    kept = main in rows and keeps_to(rows[main], config.false_alarms_per_hour)
    camera = robot.cameras[0]
    return {
        "schema": SCHEMA, "revision": revision(), "seed": config.seed, "machine": describe(),
        "bundle": config.bundle.name, "subject": main, "settings": config.to_json(),
        "robot": {"name": robot.name, "joints": [j.name for j in robot.actuated],
                  "links": [robot.links[j.child].name for j in robot.actuated], "views": len(robot.cameras),
                  "height": camera.height, "width": camera.width},
        "healthy": false_alarms(found.streams, main, config.camera_hz), "cases": cases,
        "nuisances": [judge.nuisance(case, outcomes[case.name]) for case in plan.cases if not is_damage(case)],
        "isolation_top1": isolation, "abstain_rate": abstained, "confusion": judge.confusion(every),
        "auc": found.aucs(), "baselines": baselines,
        "versus": {"on_shared": rows.get(main), "kept": kept, "best": best,
                   "ratio": _ratio(rows[best], rows[main]) if kept and best is not None else None},
        "curves": {name: curve for name in shared.names if (curve := shared.curve(name))},
        "exec_us": time_percentiles(found.times(main)), "example": found.example,
        "revisions": sorted({str(piece["revision"]) for piece in found.all} | {revision()})}


def _ratio(best: Json, own: Json) -> float:
    """The best baseline's median delay over the verified detector's."""
    return round(float(best["median_frames"]) / float(own["median_frames"]), 3)
