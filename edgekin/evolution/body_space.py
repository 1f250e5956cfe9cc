"""Genomes of body models: a gene for every rigid part says how many ellipsoids it has, another one their form.

kinds: `part` (link; count; merge: fewer come about by merging the two nearest, else by dropping the faintest) and
`form` (isotropic: balls in place of ellipsoids).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgekin.evolution.genome import Gene, Genome, Innovations
from edgekin.evolution.problem import Costs
from edgekin.robot.spec import RobotSpec

MOST = 24  # ellipsoids of a part: k3dgs of size l has no more
FEWEST = 2  # of all parts together
#: Bytes and instructions of an ellipsoid, and of what there is without one, about: what is hopeless is not tried.
ELLIPSOID_BYTES, ELLIPSOID_INSTRUCTIONS = 110.0, 1500.0


@dataclass(frozen=True)
class BodySpace:
    """All body models of a robot."""

    robot: RobotSpec

    def parts(self) -> list[int]:
        """Return the links that begin a rigid part."""
        from edgekin.models.k3dgs import parts_of

        return parts_of(self.robot)

    def genome(self, innovations: Innovations, counts: dict[int, int], isotropic: bool = False) -> Genome:
        """Return the genome of so many ellipsoids for each link."""
        parts = [Gene(innovations.number("part", link), "part",
                      {"link": link, "count": counts.get(link, 0), "merge": 0})
                 for link in sorted({*self.parts(), *counts})]
        return Genome.of([Gene(innovations.number("form"), "form", {"isotropic": int(isotropic)}), *parts])

    @staticmethod
    def counts(genome: Genome) -> dict[int, int]:
        """Return link -> ellipsoids."""
        return {int(g["link"]): int(g["count"]) for g in genome.of_kind("part")}

    @staticmethod
    def isotropic(genome: Genome) -> bool:
        """Tell whether all are balls."""
        return bool(genome.of_kind("form")[0]["isotropic"])

    def total(self, genome: Genome) -> int:
        """Return how many ellipsoids there are."""
        return sum(self.counts(genome).values())

    def minimal(self, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Return a seed: one or two ellipsoids a part."""
        return self.genome(innovations, {link: int(rng.integers(1, 3)) for link in self.parts()})

    def random(self, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Return any genome."""
        counts = {link: int(rng.integers(1, 13)) for link in self.parts()}
        return self.genome(innovations, counts, bool(rng.random() < 0.2))

    def scaled(self, genome: Genome, share: float) -> Genome:
        """Return a genome with all counts scaled; one a part stays."""
        return genome.put(*(g.having(count=max(1, round(share * g["count"]))) for g in genome.of_kind("part")
                            if g["count"]))

    def shrunk(self, genome: Genome, budgets: Costs, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Return a trained body's genome with a share of its ellipsoids, changed a little."""
        genome = genome.put(*(g.having(merge=int(rng.random() < 0.5)) for g in genome.of_kind("part")))
        return self.mutate(self.scaled(genome, float(rng.uniform(0.3, 1.0))), rng, innovations)

    def smallest(self, innovations: Innovations) -> Genome:
        """Return the smallest body that there is."""
        return self.genome(innovations, dict.fromkeys(self.parts()[:FEWEST], 1))

    def likely(self, genome: Genome, budgets: Costs) -> bool:
        """Tell whether a genome is a body, which of two parents not every child is, and may nearly keep the budgets."""
        n = self.total(genome)
        return (n >= FEWEST and n * ELLIPSOID_BYTES < budgets.flash_bytes
                and n * ELLIPSOID_INSTRUCTIONS < budgets.instructions)

    def difference(self, a: Gene, b: Gene) -> float:
        """Return how far counts are apart, a quarter of an ellipsoid each; balls are one from ellipsoids."""
        if a.kind == "form":
            return float(a["isotropic"] != b["isotropic"])
        return abs(a["count"] - b["count"]) / 4

    def mutate(self, genome: Genome, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Return a genome with more or fewer ellipsoids on a part or a few."""
        ways: list[tuple[float, Callable[[Genome], Genome]]] = [
            (4.0, lambda g: self._count(g, rng, -1)), (3.0, lambda g: self._count(g, rng, 1)),
            (2.0, lambda g: self._move(g, rng)), (0.2, self._form)]
        chances = np.array([chance for chance, _ in ways]) / sum(chance for chance, _ in ways)
        for _ in range(1 + int(rng.geometric(0.6))):
            genome = ways[int(rng.choice(len(ways), p=chances))][1](genome)
        return genome

    def _count(self, genome: Genome, rng: np.random.Generator, by: int) -> Genome:
        able = [g for g in genome.of_kind("part") if 0 <= g["count"] + by <= MOST]
        if not able or self.total(genome) + by < FEWEST:
            return genome
        gene = able[int(rng.integers(len(able)))]
        by *= 1 + int(rng.integers(max(1, int(gene["count"]) // 4)))
        count = int(np.clip(gene["count"] + by, 0, MOST))
        if self.total(genome) - gene["count"] + count < FEWEST:
            return genome
        return genome.put(gene.having(count=count, merge=int(rng.random() < 0.5)))

    def _move(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """From one part to another."""
        return self._count(self._count(genome, rng, -1), rng, 1)

    @staticmethod
    def _form(genome: Genome) -> Genome:
        form = genome.of_kind("form")[0]
        return genome.put(form.having(isotropic=1 - form["isotropic"]))
