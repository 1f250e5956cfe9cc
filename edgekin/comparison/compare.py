"""The comparison: train every piece, measure every row, and put the result together."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekin.comparison.contestants import PUBLISHED, Contestant, chosen
from edgekin.comparison.deploy import ENGINES, Budget, Deployed, deploy, in_torch, time_in_turns
from edgekin.comparison.panels import panels
from edgekin.comparison.pieces import Store, given_run, provenance
from edgekin.comparison.plan import SLOW, Piece, Plan, make_plan
from edgekin.comparison.settings import PRESETS, CompareConfig, Preset
from edgekin.comparison.workers import DONE, Word, default_jobs, train_pieces
from edgekin.errors import ConfigError, MissingExtra
from edgekin.machine import describe, revision
from edgekin.output import write_json
from edgekin.pieces import fingerprint
from edgekin.report.page import write_report
from edgekin.robot import RobotSpec, load_robot, robot_sha256
from edgekin.training.loop import Split
from edgekin.training.protocols import prepare, wants_depth
from edgekin.training.run import Run
from edgekin.training.train import measure

SCHEMA = "edgekin.compare/1"
RESULT = "compare.json"


@dataclass(frozen=True)
class Step:
    """What is at work, for the progress."""

    what: str
    stage: str
    share: float  # of the stage
    done_s: float  # of the budgets of all trainings
    total_s: float


Report = Callable[[Step], None]


@dataclass(frozen=True)
class Comparison:
    """A finished comparison."""

    folder: Path
    result: dict[str, Any]  # schema edgekin.compare/1


def compare(config: CompareConfig, force: bool = False, report: Report = lambda step: None) -> Comparison:
    """Train or take every model, measure them and write compare.json, plots and pages.

    Args:
        config: validated.
        force: begin again what lies in the folder.
        report: called as the work goes on.

    Raises:
        EdgekinError: a model, robot or run that cannot be compared; nothing is lost that was finished before.
        KeyboardInterrupt: interrupted; the same call later goes on.
    """
    _need_extras()
    return _Comparer(config.validated(), force, report).compare()


def _need_extras() -> None:
    """Find out before the work, not after it."""
    for package, extra in (("torch", "train"), ("matplotlib", "report"), ("jinja2", "report")):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, extra)


class _Comparer:
    """One comparison: the stages in order, and what they share."""

    def __init__(self, config: CompareConfig, force: bool, report: Report) -> None:
        self.config, self.report = config, report
        self.preset: Preset = PRESETS[config.preset]
        who = chosen(config.models)
        self.robot: RobotSpec = load_robot(config.robot)
        self.sha256 = robot_sha256(self.robot)
        self.given = self._given(who)
        self.plan: Plan = make_plan(config, self.preset, (self.robot, self.sha256), who)
        self.folder = config.folder(self.robot.name)
        identity = {"robot": self.robot.name, "robot_sha256": self.sha256, **config.identity}
        self.store = Store(self.folder, identity, force)
        self.todo = [p for p in self.plan.pieces if not (p.row and p.label in self.given)]
        self.latency_s = self.preset.latency_s * min(1.0, config.budget)
        self.total_s, self.done_s = sum(p.config.budget_s or 0.0 for p in self.todo) + self.latency_s, 0.0

    def _given(self, who: list[Contestant]) -> dict[str, Run]:
        by_name = {c.name: c for c in who}
        for name in self.config.runs:
            if name not in by_name:
                raise ConfigError(f"a run is given for {name!r}, which is not compared",
                                  f"Compared are: {', '.join(by_name)}")
        return {name: given_run(by_name[name].model, path, self.robot.name, self.sha256)
                for name, path in self.config.runs.items()}

    def say(self, what: str, stage: str, share: float, worth_s: float = 0.0) -> None:
        self.report(Step(what, stage, share, self.done_s + share * worth_s, self.total_s))

    def compare(self) -> Comparison:
        metrics = self.trained()
        split = self.split()
        runs = self.runs()
        for name in self.given:
            metrics[self.plan.rows[name].key] = self.of_given(name, split)
        measured = self.measured(runs, split)
        self.say("panels", "drawing", 0.0)
        seen = panels({name: run.self_model for name, run in runs.items()}, split.test, self.preset.poses)
        result = self.result(metrics, measured, seen)
        self.say("pages", "drawing", 0.0)
        write_json(self.folder / RESULT, result)
        write_report(result, self.folder)
        return Comparison(self.folder, result)

    def trained(self) -> dict[str, dict[str, Any]]:
        """Train what is not done yet; return the metrics by key."""
        numbered = {piece.key: (number, piece) for number, piece in enumerate(self.todo, 1)}
        shares: dict[str, float] = {}

        def listen(word: Word) -> None:
            number, piece = numbered[word.key]
            if word.stage in ("training", DONE):
                shares[word.key] = word.share
            self.done_s = sum(share * (numbered[key][1].config.budget_s or 0.0) for key, share in shares.items())
            self.say(f"{number}/{len(self.todo)} {piece.label}", word.stage, word.share)

        jobs = self.config.jobs or default_jobs()
        return train_pieces(self.store, self.todo, jobs, listen)

    def split(self) -> Split:
        """The samples of the rows."""
        self.say("samples", "drawing", 0.0)
        return prepare(replace(self.first().config, name=None))[1]

    def first(self) -> Piece:
        """The row whose samples say most: one with depth, where there is one."""
        rows = list(self.plan.rows.values())
        return next((row for row in rows if wants_depth(row.config)), rows[0])

    def runs(self) -> dict[str, Run]:
        """The run of every row."""
        found: dict[str, Run] = {}
        for name, piece in self.plan.rows.items():
            run = self.given.get(name) or self.store.run(piece)
            assert run is not None  # trained() has seen to it
            found[name] = run
        return found

    def of_given(self, name: str, split: Split) -> dict[str, Any]:
        """The metrics of a run that was given, on the samples of this comparison."""
        run = self.given[name]
        self.say(f"run {run.path.name}", "scoring", 0.0)
        measured = measure(run.self_model, split, run.train_config)
        own = run.metrics
        kept = {key: own.get(key) for key in ("revision", "seed", "train_seconds", "body", "n_train", "device")}
        return {**measured, **kept, "given": run.path.name}

    def measured(self, runs: dict[str, Run], split: Split) -> dict[str, Any]:
        """Bytes and times of every row: one piece, for engines are timed in turns with each other."""
        machine = describe()
        rows = {name: self.plan.rows[name].key if name not in self.given else
                hashlib.sha256((run.path / "model.safetensors").read_bytes()).hexdigest() for name, run in runs.items()}
        key = f"engines-{fingerprint(sorted(rows.items()), machine['cpu'], machine['cores'], self.latency_s)}"
        done = self.store.read(key)
        if done is not None:
            return done
        deployed: dict[str, Deployed] = {}
        for number, (name, run) in enumerate(runs.items()):
            self.say(name, "compiling", number / len(runs))
            slow = self.plan.rows[name].contestant.slow and not self.preset.slow
            deployed[name] = in_torch(run, SLOW) if slow else deploy(run)
        bind = {f"{name}/{engine}": f for name, d in deployed.items() for engine, f in d.bind.items()}
        times = time_in_turns(bind, split.test.joint_pos, Budget(self.latency_s, self.preset.latency_frames),
                              lambda share: self.say("all models", "timing", share, self.latency_s))
        content = {name: {"bytes": d.weight_bytes, "native_precision": d.precision, "why_not": d.why_not,
                          "latency_us": {engine: times.get(f"{name}/{engine}") for engine in ENGINES}}
                   for name, d in deployed.items()}
        return self.store.write(key, {"revision": revision(), "machine": machine, "rows": content})

    # ---- the result

    def result(self, metrics: dict[str, dict[str, Any]], measured: dict[str, Any],
               seen: dict[str, Any]) -> dict[str, Any]:
        rows = [self.row(name, piece, metrics[piece.key], measured["rows"][name])
                for name, piece in self.plan.rows.items()]
        first = metrics[self.first().key]
        spec, camera, preset = self.robot, self.robot.cameras[0], self.preset
        result = {
            "schema": SCHEMA, "revision": revision(), "seed": self.config.seed, "machine": describe(),
            "robot": {"name": spec.name, "sha256": self.sha256, "joints": [j.name for j in spec.actuated],
                      "views": len(spec.cameras), "height": camera.height, "width": camera.width,
                      "convention": spec.convention},
            "protocol": {"name": "uniform", "preset": preset.name, "about": preset.about, "n_train": preset.train,
                         "n_test": preset.test, "budget": self.config.budget,
                         "train_seconds": round(sum(_seconds(m) for m in metrics.values()), 1),
                         "latency": "one frame, joint angles to picture, batch 1, warm, one thread pinned to one core, "
                                    "all engines in turns, inputs bound beforehand; torch and ONNX Runtime FP32, "
                                    "native at its precision"},
            "rows": sorted(rows, key=lambda row: -float(row["psnr_db"])), "floors": first["floors"],
            "published": PUBLISHED, "data_efficiency": self.curve(metrics), "ablations": self.ablations(metrics),
            "panels": seen, "left_out": list(self.plan.left_out),
            "revisions": provenance([measured, *metrics.values()])}
        return result

    def row(self, name: str, piece: Piece, m: dict[str, Any], engines: dict[str, Any]) -> dict[str, Any]:
        depth = m.get("depth_mae_m")
        why_not = dict(engines["why_not"]) | ({} if depth is not None else {"depth": "it predicts no depth"})
        return {
            "model": name, "registry": piece.contestant.model, "about": piece.contestant.about, "size": m["size"],
            "psnr_db": round(m["psnr_db"], 4), "iou": round(m["iou"], 5), "depth_mae_m": depth,
            "parameters": m["parameters"], "macs": m["macs"], "bytes": engines["bytes"],
            "native_precision": engines["native_precision"], "latency_us": engines["latency_us"], "why_not": why_not,
            "train_seconds": _seconds(m), "n_train": m["n_train"], "device": m.get("device"),
            "given": m.get("given"), "run": piece.key}

    def curve(self, metrics: dict[str, dict[str, Any]]) -> dict[str, Any]:
        points, every = self.preset.points, list(self.plan.curve.values())
        if not every:
            return {"samples": [], "models": {}, "floors_psnr_db": {}}
        models = {name: [_score(metrics[by[n].key]) for n in points] for name, by in self.plan.curve.items()}
        first = every[0]
        floors = {floor: [metrics[first[n].key]["floors"][floor]["psnr_db"] for n in points]
                  for floor in ("mean_image", "nearest")}
        return {"samples": list(points), "models": models, "floors_psnr_db": floors}

    def ablations(self, metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"name": bars.ablation.name, "model": bars.ablation.model, "question": bars.ablation.question,
                 "samples": self.preset.ablated,
                 "variants": [{"label": variant.label, "settings": dict(variant.settings),
                               **_score(metrics[piece.key])} for variant, piece in bars.pieces]}
                for bars in self.plan.ablations]


def _score(m: dict[str, Any]) -> dict[str, Any]:
    return {"samples": m["n_train"], "psnr_db": round(m["psnr_db"], 4), "iou": round(m["iou"], 5),
            "parameters": m["parameters"], "train_seconds": _seconds(m)}


def _seconds(m: dict[str, Any]) -> float:
    """Return the seconds of a training, and of the body model that taught in it."""
    body = m.get("body") or {}
    return round((m["train_seconds"] or 0.0) + (body.get("train_seconds") or 0.0), 3)
