"""Islands: populations that evolve on their own and now and then send one another their best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgekin.evolution.fitting import Outcome
from edgekin.evolution.genome import Genome, Innovations
from edgekin.evolution.nsga2 import Point, ordered
from edgekin.evolution.problem import BOUNDED, Costs
from edgekin.evolution.reproduction import Rates, Space, breed
from edgekin.evolution.species import Speciation

#: Times that a child beyond all budgets is drawn again before it is let be.
TRIES = 6
RATES = Rates(crossover=0.4, abroad=0.1, survive=0.7)


@dataclass(frozen=True)
class Member:
    """One genome that was evaluated."""

    number: int
    genome: Genome
    parents: tuple[int, ...]  # the one whose weights it has first
    island: str
    born: int  # generation
    steps: int  # of training, of its whole line
    outcome: Outcome

    def point(self, budgets: Costs) -> Point:
        """Return the member as selection sees it: quality against three costs, in shares of the budgets."""
        costs = self.outcome.costs
        shares = (getattr(costs, name) / getattr(budgets, name) for name in BOUNDED)
        return Point((-self.outcome.psnr_db, *shares), costs.excess(budgets))


@dataclass(frozen=True)
class Unborn:
    """A genome to be evaluated, and whose weights it begins with."""

    genome: Genome
    parents: tuple[int, ...]
    island: str
    parent: Genome | None = None
    heir_of: Member | None = None  # None: fresh weights, or those of the trained network


@dataclass
class Island:
    """A population and its species."""

    name: str
    speciation: Speciation
    members: list[Member]
    species: dict[int, int]  # of each member's number, as assigned last

    def fitness(self, budgets: Costs) -> list[float]:
        """Return each member's place, 1 the best, on the front and by quality alone: budgets are there to be used."""
        points = [m.point(budgets) for m in self.members]
        n, found = len(points), np.zeros(len(points))
        by_quality = sorted(range(n), key=lambda i: (points[i].excess, points[i].objectives[0]))
        for order in (ordered(points), by_quality):
            found[order] += np.arange(n, 0, -1) / (2 * n)
        return [float(f) for f in found]

    def children(self, n: int, space: Space, innovations: Innovations, rng: np.random.Generator, budgets: Costs,
                 plausible: Callable[[Genome], bool]) -> list[Unborn]:
        """Return n genomes to be evaluated."""
        genomes, fitness = [m.genome for m in self.members], self.fitness(budgets)
        groups = self.speciation.assign(genomes, fitness)
        self.species = {self.members[i].number: number for number, row in groups.items() for i in row}
        quotas, out = self.speciation.quotas(groups, fitness, n), []
        for child in breed(genomes, groups, quotas, space, innovations, rng, RATES):
            genome, heir = child.genome, self.members[child.parents[0]]
            for _ in range(TRIES):
                if plausible(genome) and genome != heir.genome:
                    break
                genome = space.mutate(child.genome, rng, innovations)
            parents = tuple(self.members[i].number for i in child.parents)
            out.append(Unborn(genome, parents, self.name, heir.genome, heir))
        return out

    def survive(self, born: Sequence[Member], n: int, budgets: Costs) -> None:
        """Keep n of the members and of those born: the best of each species, then the best of all."""
        self.members = [*self.members, *born]
        genomes, fitness = [m.genome for m in self.members], self.fitness(budgets)
        order = ordered([m.point(budgets) for m in self.members])
        best = max(range(len(fitness)), key=lambda i: fitness[i])
        champions = {best} | {row[0] for row in list(self.speciation.assign(genomes, fitness).values())[: n // 2]}
        kept = [*champions, *(i for i in order if i not in champions)][:n]
        self.members = [self.members[i] for i in sorted(kept)]


def exchange(islands: Sequence[Island], budgets: Costs, n: int) -> None:
    """Let every island's best join the others, in the place of their worst."""
    best = [max(zip(island.fitness(budgets), island.members, strict=True), key=lambda pair: pair[0])[1]
            for island in islands]
    for island in islands:
        there = {m.number for m in island.members}
        guests = [replace(m, island=island.name) for m in best if m.number not in there]
        if guests:
            island.survive(guests, n, budgets)
