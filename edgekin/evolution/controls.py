"""What evolution is held against: the same training spent without it, under the same budgets.

scratch: the winner's shape from random weights. uniform: the run's own shape with all widths scaled alike, from random
weights. magnitude: the same, from the trained network's largest units. random: as many random genomes as the search
evaluated, each trained as long, the best trained on. Of the first three each is trained as long as the winner's line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekin.evolution.fitting import Outcome, Task, Tensors, ways_of
from edgekin.evolution.genome import Genome, Innovations
from edgekin.evolution.islands import Member
from edgekin.evolution.pool import Pool
from edgekin.evolution.problem import Costs, Problem
from edgekin.evolution.search import Plan, attempt

#: Halvings that a uniform scale is found with.
HALVINGS = 10
NAMES = ("scratch", "uniform", "magnitude", "random")
FINAL_SEED, RANDOM_SEED = 7_000_003, 8_000_009


@dataclass(frozen=True)
class Control:
    """What came of one."""

    genome: Genome
    steps: int  # of training in all
    outcome: Outcome | None  # None: it could not be trained
    mismatches: int | None = None  # on the emulated core; None: its costs are predictions

    def to_json(self, budgets: Costs) -> dict[str, Any]:
        """JSON-ready."""
        if self.outcome is None:
            return {"steps": self.steps, "psnr_db": None}
        costs = self.outcome.costs
        return {"steps": self.steps, "psnr_db": self.outcome.psnr_db, "iou": self.outcome.iou,
                "flash_bytes": round(costs.flash_bytes), "ram_bytes": round(costs.ram_bytes),
                "instructions": round(costs.instructions), "kept": costs.excess(budgets) == 0,
                "emulated": self.mismatches is not None}


@dataclass(frozen=True)
class Finals:
    """The winner, trained on, and its controls."""

    winner: Member
    outcome: Outcome
    controls: dict[str, Control]


def finals(problem: Problem, trained: tuple[Genome, Tensors], winner: Member, evaluated: int, plan: Plan,
           innovations: Innovations, steps: int, pool: Pool,
           see: Callable[[str, int, int], None] = lambda stage, done, total: None) -> Finals:
    """Train the winner on, and spend the same on the controls.

    Args:
        problem: of all.
        trained: genome and weights of the run's own model.
        winner: of the search.
        evaluated: genomes that the search evaluated.
        plan: of the search.
        innovations: gives numbers.
        steps: of the winner's further training.
        pool: evaluates.
        see: called with (stage, done, total).
    """
    space, seed = ways_of(problem).space, plan.seed + FINAL_SEED
    lone = winner.steps + steps
    uniform = scaled_to(problem, trained[0], seed)
    rng = np.random.default_rng(seed)
    genomes = [space.random(rng, innovations) for _ in range(evaluated)]
    tries = [Task(problem, genome, plan.steps, seed + RANDOM_SEED + i) for i, genome in enumerate(genomes)]
    found = pool.map(attempt, tries, lambda done: see("random search", done, len(tries)))
    keep = [(o.psnr_db, i) for i, o in enumerate(found) if o is not None and o.costs.excess(problem.budgets) == 0]
    tasks = [Task(problem, winner.genome, steps, seed, winner.genome, winner.outcome.tensors),
             Task(problem, winner.genome, lone, seed),
             Task(problem, uniform, lone, seed),
             Task(problem, uniform, lone, seed, *trained)]
    if keep:
        at = max(keep)[1]
        best = found[at]
        assert best is not None
        tasks.append(Task(problem, best.genome, steps, seed, best.genome, best.tensors))
    outcomes = pool.map(attempt, tasks, lambda done: see("training on", done, len(tasks)))
    spent = [lone, lone, lone, plan.steps * evaluated + steps]
    controls = {name: Control(task.genome, n, outcome)
                for name, task, outcome, n in zip(NAMES, tasks[1:], outcomes[1:], spent, strict=False)}
    better = outcomes[0]
    kept = better is not None and better.psnr_db >= winner.outcome.psnr_db and not better.costs.excess(problem.budgets)
    return Finals(winner, better if better is not None and kept else winner.outcome, controls)


def scaled_to(problem: Problem, genome: Genome, seed: int) -> Genome:
    """Return the largest uniform scaling of a genome that keeps the budgets; the smallest there is, where none does."""
    way = ways_of(problem)

    def fits(share: float) -> bool:
        outcome = attempt(Task(problem, way.space.scaled(genome, share), 0, seed))
        return outcome is not None and outcome.costs.excess(problem.budgets) == 0

    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    scaled: Genome = way.space.scaled(genome, low)
    return scaled
