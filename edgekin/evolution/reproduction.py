"""Children: parents chosen within a species, crossed by innovation numbers, mutated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgekin.evolution.genome import Gene, Genome, Innovations, crossover


class Space(Protocol):
    """What genomes of a kind can be."""

    def difference(self, a: Gene, b: Gene) -> float:
        """Return how far two genes with one number are apart."""

    def mutate(self, genome: Genome, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Return a changed genome."""


@dataclass(frozen=True)
class Rates:
    """How children come about."""

    crossover: float = 0.5  # share of children with two parents
    abroad: float = 0.02  # of these: the second parent is of another species
    survive: float = 0.4  # share of a species that may have children
    elite: int = 0  # members of a species that go on unchanged, where it has five or more


@dataclass(frozen=True)
class Child:
    """A genome and the indices of its parents, the one that it resembles first; changed: it was mutated."""

    genome: Genome
    parents: tuple[int, ...]
    changed: bool = True


def breed(genomes: Sequence[Genome], members: Mapping[int, Sequence[int]], quotas: Mapping[int, int], space: Space,
          innovations: Innovations, rng: np.random.Generator, rates: Rates = Rates()) -> list[Child]:
    """Return the children of a generation.

    Args:
        genomes: the parents.
        members: species -> indices, the fittest first.
        quotas: species -> how many children.
        space: what can change.
        innovations: numbers of what changes.
        rng: decides.
        rates: how often what.
    """
    children: list[Child] = []
    everyone = [i for indices in members.values() for i in indices]
    for number, quota in quotas.items():
        own = members[number]
        elite = min(rates.elite, quota) if len(own) >= 5 else 0
        children += [Child(genomes[i], (i,), False) for i in own[:elite]]
        able = own[: max(1, round(rates.survive * len(own)))]
        for _ in range(quota - elite):
            first = able[int(rng.integers(len(able)))]
            pool = everyone if rng.random() < rates.abroad else able
            second = pool[int(rng.integers(len(pool)))]
            if first == second or rng.random() >= rates.crossover:
                children.append(Child(space.mutate(genomes[first], rng, innovations), (first,)))
                continue
            if second in own and own.index(second) < own.index(first):
                first, second = second, first
            child = crossover(genomes[first], genomes[second], rng)
            children.append(Child(space.mutate(child, rng, innovations), (first, second)))
    return children
