"""A verification from beginning to end: plan, work in processes, result, page."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgekin.bundle import MANIFEST
from edgekin.errors import MissingExtra
from edgekin.output import write_json
from edgekin.pieces import PieceStore
from edgekin.report.verify_page import write_verify_page
from edgekin.robot import robot_sha256
from edgekin.verification.baselines import thresholds
from edgekin.verification.libraries import need_libraries
from edgekin.verification.plan import Unit, make_plan
from edgekin.verification.result import build
from edgekin.verification.scoring import Json
from edgekin.verification.settings import STREAM_S, VerifyConfig
from edgekin.verification.work import Bench, Setting, do
from edgekin.workers import in_workers

RESULT, PAGE = "verify.json", "verify.html"
STATE_SCHEMA = "edgekin.verify-state/1"


@dataclass(frozen=True)
class Step:
    """What is done, for the progress."""

    what: str
    share: float  # of all work


@dataclass(frozen=True)
class Verified:
    """A finished verification."""

    folder: Path
    result: Json  # schema edgekin.verify/1


Report = Callable[[Step], None]


class Verifier:
    """One verification; everything that can be wrong with it is found out here, before the work.

    Args:
        config: what to do.
        force: begin again what lies in the folder.

    Raises:
        EdgekinError: no such bundle, or one without detector; a missing package; cases that do not fit; a folder of
            another robot or bundle.
    """

    def __init__(self, config: VerifyConfig, force: bool = False) -> None:
        self.config = config.validated()
        if config.baselines:
            need_libraries()
        for package in ("matplotlib", "jinja2"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(package, "verify")
        self.bench = Bench(Setting(self.config))
        robot, manifest = self.bench.bundle.robot, (config.bundle / MANIFEST).read_bytes()
        identity = {"robot": robot.name, "robot_sha256": robot_sha256(robot),
                    "bundle_sha256": hashlib.sha256(manifest).hexdigest()}
        self.plan = make_plan(self.config, self.bench.robot, identity)
        self.subject = self.bench.subjects[0].name  # opened, or refused
        self.store = PieceStore(config.folder, "verification", STATE_SCHEMA, identity, force)

    def verify(self, report: Report = lambda step: None) -> Verified:
        """Do what is not done yet and write verify.json and verify.html.

        Args:
            report: called as the work goes on.

        Raises:
            KeyboardInterrupt: interrupted; the same call later goes on.
        """
        self._report, self._done = report, 0.0
        pieces = self._finished(Setting(self.config, self.store), self.plan.calibration)
        setting = self._with_thresholds() if self.plan.calibration else Setting(self.config, self.store)
        pieces |= self._finished(setting, self.plan.units)
        result = build(Bench(setting), self.plan, pieces)
        write_json(self.store.folder / RESULT, result)
        write_verify_page(result, self.store.folder / PAGE)
        return Verified(self.store.folder, result)

    def _with_thresholds(self) -> Setting:
        """Return the setting with the baselines' thresholds, found once and kept."""
        setting = Setting(self.config, self.store, tuple(unit.key for unit in self.plan.calibration))
        found = self.store.read(self.plan.thresholds_key)
        if found is None:
            self._say("thresholds")
            bench = Bench(setting)
            at = thresholds(bench.rules, bench.calibration, STREAM_S / 3600, self.config.false_alarms_per_hour)
            found = self.store.write(self.plan.thresholds_key, {"revision": bench.revision, "thresholds": at})
        return replace(setting, thresholds=tuple(found["thresholds"].items()))

    def _finished(self, setting: Setting, units: tuple[Unit, ...]) -> dict[str, Json]:
        """Return the pieces of units by key; do what is not done."""
        found = {unit.key: piece for unit in units if (piece := self.store.read(unit.key)) is not None}
        self._done += sum(unit.expected for unit in units if unit.key in found)
        todo = {unit.key: unit for unit in units if unit.key not in found}
        self._say("goes on" if found and todo else "begins")

        def finished(key: str, piece: Json) -> None:
            self._done += todo[key].expected
            unit = todo[key]
            self._say(unit.kind if unit.case is None else f"{unit.kind} {unit.case.name}")

        return found | in_workers(partial(do, setting), todo, self.config.processes, lambda word: None, finished)

    def _say(self, what: str) -> None:
        self._report(Step(what, self._done / sum(unit.expected for unit in self.plan.all_units)))
