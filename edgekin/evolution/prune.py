"""edgekin prune: a run in, a smaller one out that keeps hard budgets; and what the same effort gives otherwise."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgekin.compile.mcu.cores import core_of
from edgekin.errors import ConfigError, GateMissed
from edgekin.evolution import checkpoint
from edgekin.evolution.controls import Control, Finals, finals
from edgekin.evolution.costs import figures_of
from edgekin.evolution.emulated import Measured, measured, missing
from edgekin.evolution.fitting import Outcome, Task, evaluate, ways_of
from edgekin.evolution.genome import Innovations
from edgekin.evolution.islands import Member
from edgekin.evolution.pool import Pool
from edgekin.evolution.problem import Costs, Problem, budgets_json, problem_of
from edgekin.evolution.search import Look, Plan, Search, State, front_of
from edgekin.machine import describe, revision
from edgekin.output import read_object, write_atomic, write_json
from edgekin.ranges import check_ranges
from edgekin.robot import save_robot
from edgekin.sim.dataset import save_dataset
from edgekin.training.run import BODY_FOLDER, METRICS, RUN, TEST, TRAIN, WEIGHTS, Run, load_run

SCHEMA = "edgekin.prune/1"
FOLDER, SETTINGS = "evolution", "prune.json"
#: Of a budget in minutes: the search's share, the random search's is as large; the rest trains the finalists on.
SEARCH_SHARE = 0.35
FINALISTS = 5
#: Steps that the winner is trained on for, in those of a member, where generations are given.
FURTHER = 10


@dataclass(frozen=True)
class Options:
    """What to prune, to what, for how long."""

    run: str
    core: str
    budgets: Costs
    out: Path
    generations: int | None = None
    minutes: float | None = None
    population: int = 16
    steps: int = 200
    seed: int = 0
    jobs: int = 1
    scheduler: str = ""
    resume: bool = False

    def validated(self) -> Options:
        """Return the options themselves; raises ConfigError where they cannot be used."""
        core_of(self.core)
        figures_of(self.core)
        check_ranges((
                ("--generations", self.generations, 1, 10**6), ("--minutes", self.minutes, 0.05, 1e5),
                ("--population", self.population, 4, 1000), ("--steps", self.steps, 1, 10**6),
                ("--jobs", self.jobs, 1, 1024), ("--seed", self.seed, 0, 2**31 - 1)))
        if (self.generations is None) == (self.minutes is None):
            raise ConfigError("a search needs either generations or minutes", "Give --generations or --minutes")
        if self.out.exists() and not self.resume:
            raise ConfigError(f"{self.out} exists already", "Choose another --out, or go on with --resume")
        return self


@dataclass(frozen=True)
class Entry:
    """A member of the front, measured where tools are there."""

    member: Member
    costs: Costs
    mismatches: int | None  # None: not emulated

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        costs = {name: round(value) for name, value in asdict(self.costs).items()}
        return {"psnr_db": self.member.outcome.psnr_db, "iou": self.member.outcome.iou, **costs,
                "predicted": {name: round(value) for name, value in asdict(self.member.outcome.costs).items()},
                "number": self.member.number, "generation": self.member.born, "island": self.member.island,
                "genome": self.member.genome.to_json()}


@dataclass(frozen=True)
class Result:
    """What a search gave."""

    options: Options
    state: State
    front: list[Entry]
    best: Entry
    test: dict[str, float]  # psnr_db, iou on the test split, in floats
    controls: dict[str, Control]
    problem: Problem
    size: str
    not_emulated: str  # why; empty: all of the front was
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the content of `--json`, schema edgekin.prune/1."""
        options, state = self.options, self.state
        return {"schema": SCHEMA, "revision": revision(), "seed": options.seed, "machine": describe(),
                "run": str(options.run),
                "core": options.core, "budgets": budgets_json(options.budgets), "generations": state.generation,
                "evaluated": state.born, "failed": state.failed, "steps": state.steps,
                "front": [entry.to_json() for entry in self.front],
                "best": {**self.best.to_json(), "size": self.size, "steps": self.best.member.steps, "test": self.test},
                "controls": {name: control.to_json(options.budgets) for name, control in self.controls.items()},
                "emulated": not self.not_emulated, "not_emulated": self.not_emulated or None,
                "history": state.history, "seconds": self.seconds}


#: Told what there is to see: of the search, or (stage, done, total) of what follows.
Watch = Callable[[Look | tuple[str, int, int] | str], None]


def prune(options: Options, watch: Watch = lambda what: None) -> Result:
    """Evolve a run's model under budgets, and write the best as a run.

    Args:
        options: validated.
        watch: told what there is to see; a string is a warning.

    Raises:
        GateMissed: nothing that was found keeps the budgets; it names the closest.
        ConfigError: the run cannot be evolved, or a checkpoint is damaged.
    """
    start = time.monotonic()
    options = _resumed(options) if options.resume else options
    run = load_run(options.run)
    problem, innovations = problem_of(run, options.core, _tight(options), options.seed), Innovations()
    trained = ways_of(problem).trained_from(run.self_model, innovations)
    _check_smallest(problem, options, innovations)
    with Pool(options.jobs, options.scheduler) as pool:
        folder = options.out / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        seconds = None if options.minutes is None else 60 * options.minutes * SEARCH_SHARE
        plan = Plan(options.population, options.generations, seconds, options.steps, options.seed)
        search = Search(problem, options.budgets, _counter(problem), trained, innovations, plan, folder, pool, watch)
        if options.resume:
            search.resume()
            if search.trouble:
                watch(search.trouble)
        else:
            write_json(folder / SETTINGS, _settings(options))
        state, problem = search.run(), search.problem
        winner = _winner(state, problem, options)
        steps = _further(options, state, winner)
        ended = finals(problem, trained, winner, state.born, plan, state.innovations, steps, pool,
                       lambda stage, done, total: watch((stage, done, total)))
    return _written(run, options, problem, state, ended, steps, time.monotonic() - start, watch)


def _tight(options: Options) -> Costs:
    return figures_of(options.core).within(options.budgets)


def _settings(options: Options) -> dict[str, Any]:
    return {"schema": checkpoint.SCHEMA, "run": str(Path(options.run).resolve()), "core": options.core,
            "budgets": budgets_json(options.budgets), "generations": options.generations, "minutes": options.minutes,
            "population": options.population, "steps": options.steps, "seed": options.seed}


def _resumed(options: Options) -> Options:
    """The settings that a search was begun with; it may go on longer, and on other processes."""
    begun = read_object(options.out / FOLDER / SETTINGS, "Begin without --resume")
    longer = {name: getattr(options, name) for name in ("generations", "minutes")}
    return replace(options, run=begun["run"], core=begun["core"], budgets=Costs(**begun["budgets"]),
                   population=begun["population"], steps=begun["steps"], seed=begun["seed"], **longer)


def _check_smallest(problem: Problem, options: Options, innovations: Innovations) -> None:
    """Refuse budgets that the smallest model exceeds before any work is done."""
    smallest = ways_of(problem).space.smallest(innovations)
    found = evaluate(Task(problem, smallest, 0, 0))
    if found.costs.excess(options.budgets) > 0:
        raise GateMissed(f"nothing keeps these budgets: {_said(found.costs)} is the least that a model takes on "
                         f"{problem.core}, allowed {_said(options.budgets)}", "Raise the budgets")


def _said(costs: Costs) -> str:
    return f"flash {costs.flash_bytes:,.0f}, RAM {costs.ram_bytes:,.0f} bytes, {costs.instructions:,.0f} instructions"


def _winner(state: State, problem: Problem, options: Options) -> Member:
    kept = [m for m in state.archive if m.outcome.costs.excess(problem.budgets) == 0]
    if not kept:
        everyone = [*state.archive, *(m for island in state.islands for m in island.members)]
        if not everyone:
            raise GateMissed("no genome could be trained", "Train the run longer, or give more steps")
        closest = min(everyone, key=lambda m: m.outcome.costs.excess(problem.budgets)).outcome
        raise GateMissed(f"nothing found keeps the budgets: the closest takes {_said(closest.costs)} at "
                         f"{closest.psnr_db:.2f} dB, allowed {_said(options.budgets)}",
                         "Raise the budgets, or search longer with --resume")
    return max(kept, key=lambda m: m.outcome.psnr_db)


def _further(options: Options, state: State, winner: Member) -> int:
    """Steps that the winner is trained on for."""
    if options.minutes is None:
        return FURTHER * options.steps
    left = 60 * options.minutes * (1 - 2 * SEARCH_SHARE)
    a_step = state.seconds / max(state.steps, 1)  # with what else an evaluation takes
    own = winner.steps
    return max(options.steps, round(left / a_step / FINALISTS - 0.6 * own))


def _written(run: Run, options: Options, problem: Problem, state: State, ended: Finals, steps: int, seconds: float,
             watch: Watch) -> Result:
    """Measure the front, write the run and the plots."""
    way, winner = ways_of(problem), ended.winner
    further = steps if ended.outcome is not winner.outcome else 0
    best = replace(winner, genome=ended.outcome.genome, outcome=ended.outcome, steps=winner.steps + further)
    members = front_of([*(m for m in state.archive if m.number != winner.number), best], problem.budgets)
    why = missing(options.core)
    front = []
    for number, member in enumerate(members):
        watch(("emulating the front" if not why else "the front", number, len(members)))
        front.append(_entry(member, way, problem, why))
    kept = [e for e in front if e.costs.excess(options.budgets) == 0]
    if not kept:
        raise GateMissed(f"measured on the emulated {problem.core}, nothing found keeps the budgets: the best takes "
                         f"{_said(front[0].costs)}, allowed {_said(options.budgets)}", "Search longer with --resume")
    top = max(kept, key=lambda e: e.member.outcome.psnr_db)
    controls = {}
    for number, (name, control) in enumerate(ended.controls.items()):
        watch(("the controls", number, len(ended.controls)))
        controls[name] = control if why else _weighed(control, way, problem)
    model = way.model(top.member.genome, top.member.outcome.tensors)
    test = _write_run(run, options, model, problem)
    result = Result(options, state, front, top, test, controls, problem, model.size, why, seconds)
    from edgekin.evolution.plots import write_plots

    write_plots(result, options.out / FOLDER)
    return result


def _counter(problem: Problem) -> Callable[[Outcome], float] | None:
    """Counts instructions on the problem's core; None where the tools are missing."""
    if missing(problem.core):
        return None
    return lambda outcome: _emulated(outcome, ways_of(problem), problem).costs.instructions


def _emulated(outcome: Outcome, way: Any, problem: Problem) -> Measured:
    """What a model takes on the problem's core, built and run."""
    return measured(way.file(way.model(outcome.genome, outcome.tensors)), problem.core, problem.validation)


def _entry(member: Member, way: Any, problem: Problem, why: str) -> Entry:
    if why:
        return Entry(member, member.outcome.costs, None)
    found = _emulated(member.outcome, way, problem)
    return Entry(member, found.costs, found.mismatches)


def _weighed(control: Control, way: Any, problem: Problem) -> Control:
    """A control with the costs that the emulated core tells."""
    outcome = control.outcome
    if outcome is None:
        return control
    found = _emulated(outcome, way, problem)
    return replace(control, outcome=replace(outcome, costs=found.costs), mismatches=found.mismatches)


def _write_run(run: Run, options: Options, model: Any, problem: Problem) -> dict[str, float]:
    """Write a run of the model; return its scores on the test split."""
    from edgekin.training.loop import Split
    from edgekin.training.train import measure

    out, config = options.out, replace(run.train_config, model=model.name, size=model.size, name=options.out.name)
    save_robot(run.robot, out)
    for data, name in ((run.train, TRAIN), (run.test, TEST)):
        save_dataset(data, out / name, force=options.resume)
    if run.body_model is not None and run.body_model is not run.self_model:
        shutil.copytree(run.path / BODY_FOLDER, out / BODY_FOLDER, dirs_exist_ok=True)
    content = {**run.config, "revision": revision(), "config": asdict(config), "model": model.hyper,
               "pruned_from": str(run.path), "core": problem.core, "budgets": budgets_json(options.budgets)}
    write_json(out / RUN, content)
    write_atomic(out / WEIGHTS, model.to_bytes())
    metrics = measure(model, Split(run.train, run.test), config)
    write_json(out / METRICS, {**metrics, "steps": 0, "device": "cpu"})
    return {name: metrics[name] for name in ("psnr_db", "iou")}


