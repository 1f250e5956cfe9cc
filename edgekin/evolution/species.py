"""Species: genomes near one another compete among themselves, so that what is new has time to become good.

Source: Stanley & Miikkulainen (2002), sections 3.3 and 3.4: explicit fitness sharing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgekin.evolution.genome import Difference, Genome, Weights, distance

#: Generations without a better member after which a species has no children any more, unless it has the best of all.
PATIENCE = 15
#: The threshold moves by so much a generation, towards the number of species that is wanted.
STEP = 0.1


@dataclass
class Species:
    """Genomes that are near one representative."""

    number: int
    representative: Genome
    best: float = float("-inf")
    stale: int = 0  # generations since `best` rose


@dataclass
class Speciation:
    """The species of a population over the generations.

    Args:
        difference: of two genes with one number.
        threshold: of the distance to a representative.
        wanted: how many species; the threshold follows.
        weights: of the distance.
    """

    difference: Difference
    threshold: float = 1.0
    wanted: int = 6
    weights: Weights = field(default_factory=Weights)
    patience: int = PATIENCE
    species: list[Species] = field(default_factory=list)
    born: int = 0

    def assign(self, genomes: Sequence[Genome], fitness: Sequence[float]) -> dict[int, list[int]]:
        """Return species number -> its members' indices, the fittest first; empty species die out."""
        members: dict[int, list[int]] = {}
        for i in sorted(range(len(genomes)), key=lambda i: -fitness[i]):
            members.setdefault(self._home(genomes[i]).number, []).append(i)
        self.species = [s for s in self.species if s.number in members]
        for s in self.species:
            first = members[s.number][0]
            s.representative = genomes[first]
            s.stale = 0 if fitness[first] > s.best else s.stale + 1
            s.best = max(s.best, fitness[first])
        many = (len(members) > self.wanted) - (len(members) < self.wanted)
        self.threshold = max(STEP, self.threshold + STEP * many)
        return members

    def _home(self, genome: Genome) -> Species:
        for s in self.species:
            if distance(genome, s.representative, self.difference, self.weights) < self.threshold:
                return s
        self.species.append(Species(self.born, genome))
        self.born += 1
        return self.species[-1]

    def quotas(self, members: Mapping[int, Sequence[int]], fitness: Sequence[float], n: int) -> dict[int, int]:
        """Return how many of n children each species has: in proportion to its mean fitness above the worst of all."""
        low = min(fitness)
        best = max(self.species, key=lambda s: max(fitness[i] for i in members[s.number])).number
        shares = {s.number: sum(fitness[i] - low for i in members[s.number]) / len(members[s.number]) + 1e-9
                  for s in self.species if s.stale < self.patience or s.number == best}
        total, quotas, given, along = sum(shares.values()), {}, 0, 0.0
        for number, share in shares.items():
            along += share / total * n
            quotas[number] = round(along) - given
            given = round(along)
        return quotas
