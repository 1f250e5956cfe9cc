"""The search: two islands, a generation after the other, each on disk before the next begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgekin.errors import EdgekinError
from edgekin.evolution import checkpoint
from edgekin.evolution.fitting import Outcome, Task, Tensors, evaluate, ways_of
from edgekin.evolution.genome import Genome, Innovations
from edgekin.evolution.islands import Island, Member, Unborn, exchange
from edgekin.evolution.nsga2 import fronts
from edgekin.evolution.pool import Pool
from edgekin.evolution.problem import Costs, Problem
from edgekin.evolution.species import Speciation, Species

#: From small seeds up, and from the trained network down.
GROWTH, PRUNING = "growth", "pruning"
#: Generations between two exchanges; of the distance at which species part; species an island is to have.
EXCHANGE_EVERY, THRESHOLD, SPECIES = 3, 0.6, 4
#: Generations between two counts of the best on the emulated core, and what predictions may be off by after one.
WEIGH_EVERY, SPARE = 4, 0.04
#: Members of the front that are remembered beyond their islands.
ARCHIVE = 24


@dataclass(frozen=True)
class Plan:
    """How long and how wide."""

    population: int = 16  # of both islands
    generations: int | None = None
    seconds: float | None = None  # instead
    steps: int = 200  # of training, of every member
    seed: int = 0


@dataclass(frozen=True)
class Look:
    """What a caller sees of a search."""

    generation: int
    evaluated: int
    asked: int  # of this generation
    done: int
    seconds: float
    front: list[Member]
    species: dict[str, int]  # by island


@dataclass
class State:
    """All that a generation leaves to the next."""

    innovations: Innovations
    islands: list[Island]
    archive: list[Member] = field(default_factory=list)
    generation: int = 0
    born: int = 0
    failed: int = 0  # that could not be trained or quantized
    steps: int = 0  # of training, of all
    seconds: float = 0.0
    ratio: float | None = None  # of counted to predicted instructions, of the best; None: none was counted
    history: list[dict[str, Any]] = field(default_factory=list)  # by generation
    ancestry: dict[int, list[Any]] = field(default_factory=dict)  # number -> [parents, generation, island, dB]


def attempt(task: Task) -> Outcome | None:
    """Evaluate; None for a genome that cannot be trained or quantized."""
    try:
        return evaluate(task)
    except EdgekinError:
        return None


class Search:
    """Evolves members for one problem.

    Args:
        problem: what for; its budgets are what predictions have to keep.
        allowed: the true budgets.
        count: what a member's instructions really are; None: cannot be counted here.
        trained: genome and weights of the run's own model.
        plan: how long.
        folder: where generations are kept.
        pool: evaluates.
        look: called with what there is to see.
    """

    def __init__(self, problem: Problem, allowed: Costs, count: Callable[[Outcome], float] | None,
                 trained: tuple[Genome, Tensors], innovations: Innovations, plan: Plan,
                 folder: Path, pool: Pool, look: Callable[[Look], None] = lambda look: None) -> None:
        self.problem, self.trained, self.plan, self.folder, self.pool = problem, trained, plan, folder, pool
        self._allowed, self._count = allowed, count
        self.space, self.look = ways_of(problem).space, look
        self.each = max(2, plan.population // 2)
        self.state = State(innovations, [self._island(GROWTH), self._island(PRUNING)])
        self.trouble = ""

    def _island(self, name: str) -> Island:
        return Island(name, Speciation(self.space.difference, THRESHOLD, SPECIES), [], {})

    def plausible(self, genome: Genome) -> bool:
        """Tell whether a genome is not far beyond the budgets, as far as its shape tells."""
        return bool(self.space.likely(genome, self.problem.budgets))

    def run(self) -> State:
        """Evolve to the end of the plan, going on from where the state is."""
        start, before = time.monotonic(), self.state.seconds
        while not self._over(before + time.monotonic() - start):
            self._generation(lambda: before + time.monotonic() - start)
        return self.state

    def _weigh(self) -> None:
        """Count what the best takes, and let predictions come as near to the true budget as they are right about it."""
        best = max(self.state.archive, key=lambda m: m.outcome.psnr_db, default=None)
        if self._count is None or best is None:
            return
        self._trust(self._count(best.outcome) / best.outcome.costs.instructions)

    def _trust(self, ratio: float | None) -> None:
        self.state.ratio = ratio
        if ratio is not None:
            near = self._allowed.instructions / (ratio * (1 + SPARE))
            self.problem = replace(self.problem, budgets=replace(self.problem.budgets, instructions=near))

    def _over(self, seconds: float) -> bool:
        state, plan = self.state, self.plan
        if plan.generations is not None:
            return state.generation >= plan.generations
        assert plan.seconds is not None
        usual = seconds / max(state.generation, 1)
        return state.generation > 0 and seconds + 0.5 * usual > plan.seconds

    def _generation(self, clock: Callable[[], float]) -> None:
        state, budgets = self.state, self.problem.budgets
        rng = np.random.default_rng((self.plan.seed, state.generation))
        unborn = self._founders(rng) if state.generation == 0 else [
            child for island in state.islands
            for child in island.children(self.each, self.space, state.innovations, rng, budgets, self.plausible)]
        tasks = [self._task(child, state.born + i) for i, child in enumerate(unborn)]
        outcomes = self.pool.map(attempt, tasks, partial(self._see, len(tasks), clock))
        born = [Member(state.born + i, outcome.genome, child.parents, child.island, state.generation,
                       self.plan.steps + (child.heir_of.steps if child.heir_of else 0), outcome)
                for i, (child, outcome) in enumerate(zip(unborn, outcomes, strict=True)) if outcome is not None]
        state.born += len(unborn)
        state.failed += len(unborn) - len(born)
        state.steps += len(unborn) * self.plan.steps
        state.ancestry |= {m.number: [list(m.parents), m.born, m.island, m.outcome.psnr_db] for m in born}
        for island in state.islands:
            island.survive([m for m in born if m.island == island.name], self.each, budgets)
        if state.generation % EXCHANGE_EVERY == EXCHANGE_EVERY - 1:
            exchange(state.islands, budgets, self.each)
        state.archive = front_of([*state.archive, *born], budgets)
        if state.generation % WEIGH_EVERY == WEIGH_EVERY - 1:
            self._weigh()
        state.generation, state.seconds = state.generation + 1, clock()
        state.history.append(self._summary())
        self.save()
        self._see(0, clock, 0)

    def _founders(self, rng: np.random.Generator) -> list[Unborn]:
        innovations, (genome, _) = self.state.innovations, self.trained
        out = [Unborn((self.space.random if i % 3 == 2 else self.space.minimal)(rng, innovations), (), GROWTH)
               for i in range(self.each)]
        return out + [Unborn(self.space.shrunk(genome, self.problem.budgets, rng, innovations), (), PRUNING, genome)
                      for _ in range(self.each)]

    def _task(self, child: Unborn, number: int) -> Task:
        seed = int(np.random.default_rng((self.plan.seed, 1, number)).integers(2**31))
        tensors = child.heir_of.outcome.tensors if child.heir_of else self.trained[1] if child.parent else {}
        return Task(self.problem, child.genome, self.plan.steps, seed, child.parent, tensors)

    def _see(self, asked: int, clock: Callable[[], float], done: int) -> None:
        state = self.state
        species = {island.name: len(island.speciation.species) for island in state.islands}
        self.look(Look(state.generation, state.born + done, asked, done, clock(), state.archive, species))

    def _summary(self) -> dict[str, Any]:
        state, budgets = self.state, self.problem.budgets
        kept = [m for m in state.archive if m.outcome.costs.excess(budgets) == 0]
        sizes = [{str(number): list(island.species.values()).count(number) for number in set(island.species.values())}
                 for island in state.islands]
        return {"generation": state.generation, "evaluated": state.born, "seconds": state.seconds,
                "best_psnr_db": max((m.outcome.psnr_db for m in kept), default=None),
                "species": dict(zip((i.name for i in state.islands), sizes, strict=True))}

    # ---- on disk

    def save(self) -> None:
        """Write the generation."""
        state = self.state
        everyone = {m.number: m for m in [*state.archive, *(m for island in state.islands for m in island.members)]}
        content = {
            "innovations": state.innovations.to_json(), "generation": state.generation, "born": state.born,
            "failed": state.failed, "steps": state.steps, "seconds": state.seconds, "history": state.history,
            "ratio": state.ratio,
            "ancestry": {str(k): v for k, v in state.ancestry.items()},
            "archive": [m.number for m in state.archive],
            "members": [_member_json(m) for m in everyone.values()],
            "islands": [{"name": i.name, "members": [[m.number, m.island] for m in i.members],
                         "species": [[k, v] for k, v in i.species.items()], "born": i.speciation.born,
                         "threshold": i.speciation.threshold,
                         "kinds": [{"number": s.number, "representative": s.representative.to_json(), "best": s.best,
                                    "stale": s.stale} for s in i.speciation.species]} for i in state.islands]}
        arrays = {f"{m.number}/{name}": t for m in everyone.values() for name, t in m.outcome.tensors.items()}
        checkpoint.save(self.folder, state.generation, content, arrays)

    def resume(self) -> None:
        """Take up the last generation on disk; `trouble` says where that is not the last one written."""
        content, arrays, self.trouble = checkpoint.load(self.folder)
        tensors: dict[int, Tensors] = {}
        for key, value in arrays.items():
            number, _, name = key.partition("/")
            tensors.setdefault(int(number), {})[name] = value
        members = {int(e["number"]): _member(e, tensors) for e in content["members"]}
        islands = []
        for entry in content["islands"]:
            island = self._island(entry["name"])
            island.members = [members[number] for number, _ in entry["members"]]
            island.species = {int(k): int(v) for k, v in entry["species"]}
            s = island.speciation
            s.born, s.threshold = entry["born"], entry["threshold"]
            s.species = [Species(k["number"], Genome.from_json(k["representative"]), k["best"], k["stale"])
                         for k in entry["kinds"]]
            islands.append(island)
        self.state = State(Innovations.from_json(content["innovations"]), islands,
                           [members[n] for n in content["archive"]], content["generation"], content["born"],
                           content["failed"], content["steps"], content["seconds"], content.get("ratio"),
                           content["history"], {int(k): v for k, v in content["ancestry"].items()})
        self._trust(self.state.ratio)


def front_of(members: Sequence[Member], budgets: Costs) -> list[Member]:
    """Return the members that none of the others is better than, the best first, at most ARCHIVE of them."""
    each = list({m.number: m for m in members}.values())
    if not each:
        return []
    first = [each[i] for i in fronts([m.point(budgets) for m in each])[0]]
    return sorted(first, key=lambda m: -m.outcome.psnr_db)[:ARCHIVE]


def _member_json(m: Member) -> dict[str, Any]:
    return {"number": m.number, "genome": m.genome.to_json(), "parents": list(m.parents), "island": m.island,
            "born": m.born, "steps": m.steps, "psnr_db": m.outcome.psnr_db, "iou": m.outcome.iou,
            "costs": asdict(m.outcome.costs), "seconds": m.outcome.seconds}


def _member(e: dict[str, Any], tensors: dict[int, Tensors]) -> Member:
    genome = Genome.from_json(e["genome"])
    outcome = Outcome(e["psnr_db"], e["iou"], Costs(**e["costs"]), genome, tensors[e["number"]], e["seconds"])
    return Member(e["number"], genome, tuple(e["parents"]), e["island"], e["born"], e["steps"],
                  outcome)
