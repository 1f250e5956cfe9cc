"""Genomes of decoders: a gene for every module. Mutations add, drop, widen and narrow them, or move the seam.

kinds: `hidden` (width), `code` (width: the last hidden layer), `seam` (channels of the map that the code is spread
over, and pixels of a cell), `cells` (the share of the map's cells that are kept), `conv` (width, kind), `head` (kind).
`at` is where a module stands among those of its kind. How a genome is spelled as a size: edgekin.models.neurokin.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from edgekin.evolution.genome import Gene, Genome, Innovations
from edgekin.evolution.problem import Costs
from edgekin.models.registry import PictureShape

#: Of a convolution's gene, in the order of the allele `kind`: 3x3, single places, doubling (neurokin.POINT and TWICE).
KINDS = ("", "p", "t")
#: Widths are whole multiples: of what the trainer's kernels take at once; of a block of rows on a microcontroller.
UNITS, CHANNELS = 8, 4
MOST = {"hidden": 256, "code": 256, "seam": 16, "conv": 32}
FACTORS = (4, 5, 8, 10)
DEEPEST = {"hidden": 4, "conv": 3}
SMALLEST_SHARE = 0.15
#: Weights that an input meets in an output's kernel; of a doubling one in all four outputs of a place.
TAPS = {KINDS[0]: 9, KINDS[1]: 1, KINDS[2]: 16}
#: Bias and multiplier of a row.
ROW_BYTES = 8
#: About what kernels and the table of scores take; instructions of a product, of an output of a convolution and of a
#: pixel; and what convolutions compute besides the cells that are kept, whose rows have gaps.
CODE_BYTES, PER_PRODUCT, PER_OUTPUT, PER_PIXEL, AROUND = 5000, 1.35, 20, 7, 1.3
#: Of pruned founders: the share of the cells that stay, and how unevenly widths shrink, as powers of one share.
FOUNDERS_CELLS, UNEVEN = (0.45, 0.8), (0.2, 1.8)
#: A width changes by a normal deviate of so many e-folds.
SPREAD = 0.3
#: Cells narrower than this many on a side hold no picture.
FEWEST_CELLS = 3


@dataclass(frozen=True)
class DecoderSpace:
    """All decoders of pictures of one shape."""

    shape: PictureShape

    # ---- genomes

    def genome(self, innovations: Innovations, hidden: tuple[int, ...], seam: tuple[int, int, float],
               convs: tuple[tuple[int, str], ...] = (), head: str = "") -> Genome:
        """Return a genome of these modules.

        Args:
            innovations: gives the numbers.
            hidden: widths, the code's last.
            seam: channels, pixels of a cell and the share of cells kept.
            convs: width and kind.
            head: kind.
        """
        fixed = [Gene(innovations.number("code"), "code", {"width": hidden[-1]}),
                 Gene(innovations.number("seam"), "seam", {"channels": seam[0], "factor": seam[1]}),
                 Gene(innovations.number("cells"), "cells", {"keep": seam[2]}),
                 Gene(innovations.number("head"), "head", {"kind": KINDS.index(head)})]
        made = Genome.of(fixed)
        for width in hidden[:-1]:
            made = self._add(made, "hidden", 1.0, {"width": width}, innovations)
        for width, kind in convs:
            made = self._add(made, "conv", 1.0, {"width": width, "kind": KINDS.index(kind)}, innovations)
        return made

    def of_size(self, size: str, innovations: Innovations) -> Genome:
        """Return the genome of a compact size of neurokin's."""
        from edgekin.models.neurokin import widths_of

        widths = widths_of(size)
        assert widths is not None
        seam = widths.cell, widths.factor, 1.0
        return self.genome(innovations, widths.units(self.shape.n_joints), seam, tuple(widths.steps), widths.head)

    def minimal(self, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Return a seed: one small layer, a small map, the head."""
        factor = FACTORS[int(rng.integers(len(FACTORS)))]
        return self.genome(innovations, (UNITS * int(rng.integers(2, 5)),),
                           (CHANNELS, self._factor(factor, 0), float(rng.uniform(0.3, 0.7))), head=KINDS[1])

    def random(self, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Return any genome."""
        hidden = tuple(UNITS * int(rng.integers(1, 13)) for _ in range(int(rng.integers(1, 4))))
        convs = tuple((CHANNELS * int(rng.integers(1, 5)), KINDS[int(rng.integers(3))])
                      for _ in range(int(rng.integers(3))))
        factor = self._factor(FACTORS[int(rng.integers(len(FACTORS)))], sum(kind == KINDS[2] for _, kind in convs))
        seam = (CHANNELS * int(rng.integers(1, 4)), factor, float(rng.uniform(SMALLEST_SHARE, 1.0)))
        return self.genome(innovations, hidden, seam, convs, KINDS[int(rng.integers(2))])

    def scaled(self, genome: Genome, share: float) -> Genome:
        """Return a genome with all its widths scaled, by the square root of a share of the weights."""
        by = math.sqrt(share)
        return Genome(tuple(self._width(gene, lambda width: width * by) for gene in genome.genes))

    def shrunk(self, genome: Genome, budgets: Costs, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Return a trained network's genome, narrowed until it is likely to fit, some layers more than others."""
        cells = genome.of_kind("cells")[0]
        genome = genome.put(cells.having(keep=cells["keep"] * float(rng.uniform(*FOUNDERS_CELLS))))
        by, share, found = {g.innovation: float(rng.uniform(*UNEVEN)) for g in genome.genes}, 1.0, genome
        room = Costs(budgets.flash_bytes * float(rng.uniform(0.7, 1.0)), budgets.ram_bytes, budgets.instructions)
        while share > 1e-2 and not self.likely(found, room):
            share *= 0.95
            shares = {number: partial(operator.mul, share ** power) for number, power in by.items()}
            found = Genome(tuple(self._width(g, shares[g.innovation]) for g in genome.genes))
        return self.mutate(found, rng, innovations) if rng.random() < 0.5 else found

    def weight_bytes(self, genome: Genome) -> float:
        """Return about the bytes of a genome's weights, and of what each of their rows needs besides."""
        seam, keep = genome.of_kind("seam")[0], genome.of_kind("cells")[0]["keep"]
        widths = [2 * self.shape.n_joints, *(g["width"] for g in self.hidden(genome))]
        rows = keep * seam["channels"] * math.prod(self.grid(genome))
        return sum(a * b for a, b in pairwise(widths)) + rows * (widths[-1] + ROW_BYTES) + sum(
            a * b * taps for a, b, taps, _ in self._kernels(genome))

    def work(self, genome: Genome) -> float:
        """Return about the instructions of a prediction and its score."""
        seam, keep = genome.of_kind("seam")[0], genome.of_kind("cells")[0]["keep"]
        rows = keep * seam["channels"] * math.prod(self.grid(genome))
        kernels = sum((PER_PRODUCT * a * taps + PER_OUTPUT) * b * n for a, b, taps, n in self._kernels(genome))
        pixels = self.shape.n_views * self.shape.height * self.shape.width
        return (PER_PRODUCT * rows * self.hidden(genome)[-1]["width"] + min(1.0, AROUND * keep) * kernels
                + PER_PIXEL * pixels)

    def _kernels(self, genome: Genome) -> list[tuple[float, float, int, float]]:
        """Inputs, outputs, taps and places of every convolution, the head's, too."""
        seam, places, out = genome.of_kind("seam")[0], math.prod(self.grid(genome)), []
        channels = seam["channels"]
        for gene in [*self.convs(genome), genome.of_kind("head")[0]]:
            kind = KINDS[int(gene["kind"])]
            wide = gene["width"] if gene.kind == "conv" else self.shape.n_views * seam["factor"] ** 2
            out.append((channels, wide, TAPS[kind], float(places)))
            places, channels = places * (4 if kind == KINDS[2] else 1), wide
        return out

    def likely(self, genome: Genome, budgets: Costs) -> bool:
        """Tell whether a genome may keep the budgets, or nearly, as far as its shape tells."""
        return (self.weight_bytes(genome) + CODE_BYTES < budgets.flash_bytes
                and self.work(genome) < budgets.instructions)

    def smallest(self, innovations: Innovations) -> Genome:
        """Return the smallest decoder that there is."""
        return self.genome(innovations, (UNITS,), (CHANNELS, self._factor(FACTORS[-1], 0), SMALLEST_SHARE),
                           head=KINDS[1])

    def size(self, genome: Genome) -> str:
        """Return the size that neurokin builds of a genome."""
        seam, (head,) = genome.of_kind("seam")[0], genome.of_kind("head")
        hidden = "x".join(str(int(g["width"])) for g in self.hidden(genome))
        convs = "x".join(f"{int(g['width'])}{KINDS[int(g['kind'])]}" for g in self.convs(genome)) or "none"
        kind = KINDS[int(head["kind"])]
        return f"{hidden}-{int(seam['channels'])}f{int(seam['factor'])}-{convs}{'-' + kind if kind else ''}"

    def hidden(self, genome: Genome) -> list[Gene]:
        """Return the linear layers before the seam in their order, the code last."""
        return [*sorted(genome.of_kind("hidden"), key=lambda g: g["at"]), *genome.of_kind("code")]

    def convs(self, genome: Genome) -> list[Gene]:
        """Return the convolutions before the head in their order."""
        return sorted(genome.of_kind("conv"), key=lambda g: g["at"])

    def layers(self, genome: Genome) -> list[Gene]:
        """Return the genes of all layers with weights in their order."""
        return [*self.hidden(genome), *genome.of_kind("seam"), *self.convs(genome), *genome.of_kind("head")]

    @staticmethod
    def outputs(gene: Gene) -> int:
        """Return the units or channels of a layer other than the head."""
        return int(gene["channels"] if gene.kind == "seam" else gene["width"])

    def doublings(self, genome: Genome) -> int:
        """Return how often convolutions double the map."""
        return sum(KINDS[int(g["kind"])] == KINDS[2] for g in genome.of_kind("conv"))

    def cell_px(self, genome: Genome) -> int:
        """Return the pixels of the picture that a cell of the seam's map becomes, per axis."""
        return int(genome.of_kind("seam")[0]["factor"]) << self.doublings(genome)

    def grid(self, genome: Genome) -> tuple[int, int]:
        """Return rows and columns of the seam's map."""
        cell = self.cell_px(genome)
        return -(-self.shape.height // cell), -(-self.shape.width // cell)

    # ---- change

    def difference(self, a: Gene, b: Gene) -> float:
        """Return how far widths are apart, in doublings; other alleles in steps."""
        widths = [name for name in ("width", "channels", "factor", "keep") if name in a.alleles]
        return sum(abs(math.log2(a[name] / b[name])) for name in widths) + (
            "kind" in a.alleles and a["kind"] != b["kind"])

    def mutate(self, genome: Genome, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Return a genome that differs in one thing, or in a few."""
        ways: list[tuple[float, Callable[[Genome], Genome]]] = [
            (4.0, lambda g: self._resize(g, rng)), (2.0, lambda g: self._cells(g, rng)),
            (0.7, lambda g: self._grow(g, "hidden", rng, innovations)),
            (0.7, lambda g: self._grow(g, "conv", rng, innovations)),
            (0.7, lambda g: self._drop(g, "hidden", rng)), (0.7, lambda g: self._drop(g, "conv", rng)),
            (0.7, lambda g: self._kind(g, rng)), (0.7, lambda g: self._seam(g, rng))]
        chances = np.array([chance for chance, _ in ways]) / sum(chance for chance, _ in ways)
        for _ in range(1 + int(rng.geometric(0.6))):
            genome = ways[int(rng.choice(len(ways), p=chances))][1](genome)
        seam = genome.of_kind("seam")[0]
        return genome.put(seam.having(factor=self._factor(int(seam["factor"]), self.doublings(genome))))

    def _factor(self, factor: int, doublings: int) -> int:
        """The factor, or a smaller one that leaves the seam enough cells."""
        side = min(self.shape.height, self.shape.width)
        return max(1, min(factor, side // (FEWEST_CELLS << doublings)))

    def _width(self, gene: Gene, change: Callable[[float], float]) -> Gene:
        name = {"hidden": "width", "code": "width", "conv": "width", "seam": "channels"}.get(gene.kind)
        if name is None:
            return gene
        step = UNITS if gene.kind in ("hidden", "code") else CHANNELS
        return gene.having(**{name: min(max(step, step * round(change(gene[name]) / step)), MOST[gene.kind])})

    def _resize(self, genome: Genome, rng: np.random.Generator) -> Genome:
        genes = [g for g in genome.genes if g.kind in MOST]
        gene = genes[int(rng.integers(len(genes)))]
        step = UNITS if gene.kind in ("hidden", "code") else CHANNELS
        by, sign = math.exp(SPREAD * rng.normal()), 1 if rng.random() < 0.5 else -1
        new = self._width(gene, lambda width: width * by)
        return genome.put(new if new != gene else self._width(gene, lambda width: width + sign * step))

    def _cells(self, genome: Genome, rng: np.random.Generator) -> Genome:
        gene = genome.of_kind("cells")[0]
        return genome.put(gene.having(keep=float(np.clip(gene["keep"] * math.exp(SPREAD * rng.normal()),
                                                         SMALLEST_SHARE, 1.0))))

    def _add(self, genome: Genome, kind: str, at: float, alleles: dict[str, float],
             innovations: Innovations) -> Genome:
        """Put a module where `at` says, 0 to 1 of those there: its number tells between which two."""
        row = sorted(genome.of_kind(kind), key=lambda g: g["at"])
        slot = min(int(at * (len(row) + 1)), len(row))
        before, after = row[slot - 1] if slot else None, row[slot] if slot < len(row) else None
        low, high = before["at"] if before else 0.0, after["at"] if after else 1.0
        number = innovations.number(kind, before.innovation if before else -1, after.innovation if after else -1)
        if any(g.innovation == number for g in genome.genes):
            return genome
        return genome.put(Gene(number, kind, {"at": (low + high) / 2, **alleles}))

    def _grow(self, genome: Genome, kind: str, rng: np.random.Generator, innovations: Innovations) -> Genome:
        """Add a module as wide as what feeds it, so that it can begin as the identity."""
        row = self.hidden(genome)[:-1] if kind == "hidden" else self.convs(genome)
        if len(row) >= DEEPEST[kind]:
            return genome
        slot = int(rng.integers(len(row) + 1))
        first = genome.of_kind("code" if kind == "hidden" else "seam")[0]
        wide = row[slot - 1]["width"] if slot else first["width" if kind == "hidden" else "channels"]
        alleles = {"width": min(wide, MOST[kind])} | ({"kind": int(rng.integers(3))} if kind == "conv" else {})
        return self._add(genome, kind, (slot + 0.5) / (len(row) + 1), alleles, innovations)

    @staticmethod
    def _drop(genome: Genome, kind: str, rng: np.random.Generator) -> Genome:
        row = genome.of_kind(kind)
        return genome.without(row[int(rng.integers(len(row)))]) if row else genome

    @staticmethod
    def _kind(genome: Genome, rng: np.random.Generator) -> Genome:
        row = [*genome.of_kind("conv"), *genome.of_kind("head")]
        gene = row[int(rng.integers(len(row)))]
        return genome.put(gene.having(kind=int(rng.integers(3 if gene.kind == "conv" else 2))))

    def _seam(self, genome: Genome, rng: np.random.Generator) -> Genome:
        return genome.put(genome.of_kind("seam")[0].having(factor=FACTORS[int(rng.integers(len(FACTORS)))]))
