"""Networks of single connections, NEAT's own genomes: a connection gene each, a node gene for every hidden unit.

Nodes have a place between inputs (0) and outputs (1); connections lead to higher places, so there are no cycles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgekin.evolution.genome import Gene, Genome, Innovations
from edgekin.evolution.reproduction import Space

#: Steepness of the sigmoid. Source: Stanley & Miikkulainen (2002), section 4.1.
STEEPNESS = 4.9


@dataclass(frozen=True)
class Networks(Space):
    """Feed-forward networks with a bias unit.

    Args:
        inputs: how many, the bias not counted; they are nodes 0 to inputs - 1, the bias is node `inputs`.
        outputs: how many; they come next.
    """

    inputs: int
    outputs: int
    new_node: float = 0.05  # chances of a structural mutation
    new_connection: float = 0.3
    toggle: float = 0.02
    shifted: float = 0.8  # share of weights that are moved, by deviates of `power`
    replaced: float = 0.1  # share drawn anew
    power: float = 0.8

    def innovations(self) -> Innovations:
        """Return the numbers of inputs and outputs, which every genome has without genes."""
        found = Innovations()
        for node in range(self.inputs + 1 + self.outputs):
            found.number("node", node)
        return found

    def minimal(self, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Return every input connected with every output, weights at random."""
        first = self.inputs + 1
        return Genome.of(self._connection(innovations, a, b, rng.normal())
                         for b in range(first, first + self.outputs) for a in range(first))

    @staticmethod
    def _connection(innovations: Innovations, a: int, b: int, weight: float) -> Gene:
        return Gene(innovations.number("connection", a, b), "connection",
                    {"from": a, "to": b, "weight": weight, "on": 1})

    def difference(self, a: Gene, b: Gene) -> float:
        """Return how far weights are apart."""
        if a.kind == "node":
            return 0.0
        return abs(a["weight"] - b["weight"]) + (a["on"] != b["on"])

    def places(self, genome: Genome) -> dict[int, float]:
        """Return every node's place."""
        first = self.inputs + 1
        fixed = {node: float(node >= first) for node in range(first + self.outputs)}
        return fixed | {gene.innovation: gene["place"] for gene in genome.of_kind("node")}

    def mutate(self, genome: Genome, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Return a genome with weights moved, and now and then a node or a connection more."""
        if rng.random() < self.new_node:
            genome = self._split(genome, rng, innovations)
        if rng.random() < self.new_connection:
            genome = self._connect(genome, rng, innovations)
        moved = []
        for gene in genome.of_kind("connection"):
            chance, weight = rng.random(), gene["weight"]
            if chance < self.replaced:
                weight = rng.normal()
            elif chance < self.replaced + self.shifted:
                weight += self.power * rng.normal()
            moved.append(gene.having(weight=weight, on=1 - gene["on"] if rng.random() < self.toggle else gene["on"]))
        return genome.put(*moved)

    def _split(self, genome: Genome, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Put a node into a connection: into it with weight 1, out of it with the old weight, the old one off."""
        on = [gene for gene in genome.of_kind("connection") if gene["on"]]
        if not on:
            return genome
        gene = on[rng.integers(len(on))]
        a, b, places = int(gene["from"]), int(gene["to"]), self.places(genome)
        node = innovations.number("split", gene.innovation)
        if node in places:
            return genome
        return genome.put(gene.having(on=0), Gene(node, "node", {"place": (places[a] + places[b]) / 2}),
                          self._connection(innovations, a, node, 1.0),
                          self._connection(innovations, node, b, gene["weight"]))

    def _connect(self, genome: Genome, rng: np.random.Generator, innovations: Innovations) -> Genome:
        places = self.places(genome)
        there = {(int(g["from"]), int(g["to"])) for g in genome.of_kind("connection")}
        free = [(a, b) for a in places for b in places if places[a] < places[b] and (a, b) not in there]
        if not free:
            return genome
        a, b = free[rng.integers(len(free))]
        return genome.put(self._connection(innovations, a, b, rng.normal()))

    def run(self, genome: Genome, values: list[float]) -> list[float]:
        """Return the outputs, 0 to 1, for the inputs."""
        places = self.places(genome)
        found = dict(enumerate([*values, 1.0]))
        into: dict[int, list[Gene]] = {}
        for gene in genome.of_kind("connection"):
            if gene["on"]:
                into.setdefault(int(gene["to"]), []).append(gene)
        for node in sorted(places.keys() - found.keys(), key=lambda node: places[node]):
            total = sum(gene["weight"] * found[int(gene["from"])] for gene in into.get(node, []))
            found[node] = 1 / (1 + math.exp(-min(60.0, max(-60.0, STEEPNESS * total))))
        first = self.inputs + 1
        return [found[node] for node in range(first, first + self.outputs)]
