"""Genomes of genes with innovation numbers: how alike two are, and what a child inherits from both.

Two genes with one number go back to one mutation, so genomes of any length line up without looking at what they encode.
Source: Stanley & Miikkulainen, Evolving Neural Networks through Augmenting Topologies (2002), sections 3.1 to 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Gene:
    """One gene; what its alleles mean is its kind's affair."""

    innovation: int
    kind: str
    alleles: Mapping[str, float]

    def __getitem__(self, name: str) -> float:
        return self.alleles[name]

    def having(self, **alleles: float) -> Gene:
        """Return the gene with some alleles changed."""
        return Gene(self.innovation, self.kind, {**self.alleles, **alleles})


@dataclass(frozen=True)
class Genome:
    """Genes in the order of their innovation numbers, each number once."""

    genes: tuple[Gene, ...]

    @classmethod
    def of(cls, genes: Iterable[Gene]) -> Genome:
        """Return the genome of genes in any order."""
        return cls(tuple(sorted(genes, key=lambda gene: gene.innovation)))

    def of_kind(self, kind: str) -> list[Gene]:
        """Return the genes of a kind."""
        return [gene for gene in self.genes if gene.kind == kind]

    def put(self, *genes: Gene) -> Genome:
        """Return the genome with genes in the place of those of the same number, or added."""
        return Genome.of({**{g.innovation: g for g in self.genes}, **{g.innovation: g for g in genes}}.values())

    def without(self, gene: Gene) -> Genome:
        """Return the genome without a gene."""
        return Genome(tuple(g for g in self.genes if g.innovation != gene.innovation))

    def to_json(self) -> list[dict[str, Any]]:
        """JSON-ready."""
        return [{"innovation": g.innovation, "kind": g.kind, "alleles": dict(g.alleles)} for g in self.genes]

    @classmethod
    def from_json(cls, content: Iterable[Mapping[str, Any]]) -> Genome:
        """The inverse of to_json."""
        return cls.of(Gene(int(e["innovation"]), str(e["kind"]), dict(e["alleles"])) for e in content)


@dataclass
class Innovations:
    """The numbers given so far: the same structural mutation gets the same number, whoever has it and whenever."""

    numbers: dict[Key, int] = field(default_factory=dict)

    def number(self, *key: str | int) -> int:
        """Return the number of the mutation that a key names."""
        return self.numbers.setdefault(key, len(self.numbers))

    def to_json(self) -> list[list[str | int]]:
        """JSON-ready: keys in the order of their numbers."""
        return [list(key) for key in self.numbers]

    @classmethod
    def from_json(cls, keys: Iterable[Iterable[str | int]]) -> Innovations:
        """The inverse of to_json."""
        return cls({tuple(key): number for number, key in enumerate(keys)})


@dataclass(frozen=True)
class Weights:
    """What counts how much in a distance (equation 1): c1, c2, c3."""

    excess: float = 1.0
    disjoint: float = 1.0
    alleles: float = 0.5


#: How far two genes with one number are apart, 0 for the same alleles.
Difference = Callable[[Gene, Gene], float]


def distance(a: Genome, b: Genome, difference: Difference, weights: Weights = Weights()) -> float:
    """Return the compatibility distance: excess and disjoint genes by the longer genome, and the mean difference."""
    left, right = ({g.innovation: g for g in genome.genes} for genome in (a, b))
    shared = left.keys() & right.keys()
    last = min(max(left, default=-1), max(right, default=-1))
    alone = left.keys() ^ right.keys()
    excess = sum(number > last for number in alone)
    longest = max(len(left), len(right), 1)
    apart = float(np.mean([difference(left[i], right[i]) for i in sorted(shared)])) if shared else 0.0
    return ((weights.excess * excess + weights.disjoint * (len(alone) - excess)) / longest + weights.alleles * apart)


def crossover(fitter: Genome, other: Genome, rng: np.random.Generator) -> Genome:
    """Return a child: matching genes from either parent, disjoint and excess ones from the fitter."""
    others = {g.innovation: g for g in other.genes}
    return Genome(tuple(others[g.innovation] if g.innovation in others and rng.random() < 0.5 else g
                        for g in fitter.genes))
