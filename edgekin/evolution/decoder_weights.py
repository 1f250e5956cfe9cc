"""What a decoder inherits: its parent's weights, brought into its own modules.

The parent is changed step by step until it has the child's modules. Widening and new hidden layers keep the function
(Chen, Goodfellow & Shlens, Net2Net, 2016); narrowing keeps the units that the others follow from best, and what reads
the layer reads the others through them (Chee et al., Model Preserving Compression for Neural Networks, 2022); a map on
another grid, or a head of another factor, is enlarged or shrunk as the picture that it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekin.evolution.decoder_space import KINDS, DecoderSpace
from edgekin.evolution.genome import Gene, Genome

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
#: innovation -> second moments (units, units) of a layer's outputs behind its ReLU.
Moments = Mapping[str, F64]
#: innovation.weight, innovation.bias -> numbers, of every layer; transposed convolutions as (out, in, 4, 4), too.
Tensors = dict[str, F32]
#: A cell that is not kept: no weights, and a bias that its ReLU never lets through. No gradient ever reaches it.
SILENT = -1.0
#: Of the mean square of a layer's units, for sums of units that say nearly the same.
RIDGE = 1e-4
#: One axis of the transposed convolution that enlarges a map linearly.
LINEAR = np.array([0.25, 0.75, 0.75, 0.25], dtype=np.float32)


@dataclass(frozen=True)
class _Layer:
    gene: Gene
    weight: F32  # (out, in) or (out, in, k, k); the seam's (channels, cells, in)
    bias: F32  # (out,); the seam's (channels, cells)


def inherited(space: DecoderSpace, parent: Genome, tensors: Mapping[str, F32], child: Genome,
              rng: np.random.Generator, moments: Moments | None = None) -> Tensors:
    """Return a child's weights, made of its parent's.

    Args:
        space: of both.
        parent: whose weights they are.
        tensors: they.
        child: to be given weights.
        rng: chooses what is copied where a layer becomes wider.
        moments: of the parent's layers; of layers that are not there, units are taken to be independent of each other.
    """
    chain = _chain(space, parent, tensors)
    chain = _without(chain, child, rng)
    chain = _with_new(space, chain, child)
    chain = _on_grid(space, chain, parent, child)
    return _tensors(_resized(space, chain, rng, moments or {}))


def silenced(tensors: Tensors, genome: Genome, space: DecoderSpace, often: F32, rng: np.random.Generator) -> Tensors:
    """Return weights with the cells silent that are not kept, and those awake that are.

    Args:
        tensors: of a genome.
        genome: says what share of the cells is kept.
        space: its.
        often: (H, W) in how many pictures a pixel is on; the cells where the robot hardly ever is go first.
        rng: draws the weights of cells that were silent so far.
    """
    seam, keep = genome.of_kind("seam")[0], genome.of_kind("cells")[0]["keep"]
    awake = kept_cells(often, space.cell_px(genome), space.grid(genome), keep)
    channels, name = int(seam["channels"]), str(seam.innovation)
    weight = tensors[f"{name}.weight"].reshape(channels, len(awake), -1).copy()
    bias = tensors[f"{name}.bias"].reshape(channels, len(awake)).copy()
    fresh = awake & ~weight.any(axis=2)
    scale = float(np.abs(weight[weight != 0]).mean()) if weight.any() else 0.05
    weight[fresh] = scale * rng.standard_normal((int(fresh.sum()), weight.shape[2]))
    bias[fresh] = 0.0
    weight[:, ~awake], bias[:, ~awake] = 0.0, SILENT
    return {**tensors, f"{name}.weight": weight.reshape(-1, weight.shape[2]), f"{name}.bias": bias.ravel()}


def cell_shares(often: F32, cell_px: int, grid: tuple[int, int]) -> F32:
    """Return how often the robot is in each cell (rows * columns,): of its pixels the largest share of pictures."""
    padded = np.zeros((grid[0] * cell_px, grid[1] * cell_px), dtype=np.float32)
    padded[: often.shape[0], : often.shape[1]] = often
    found: F32 = padded.reshape(grid[0], cell_px, grid[1], cell_px).max(axis=(1, 3)).ravel()
    return found


def kept_cells(often: F32, cell_px: int, grid: tuple[int, int], keep: float) -> NDArray[np.bool_]:
    """Return which of the cells (rows * columns,) are kept: the share of them where the robot is most often."""
    cells = cell_shares(often, cell_px, grid)
    kept = np.zeros(len(cells), dtype=np.bool_)
    kept[np.argsort(-cells, kind="stable")[: max(1, round(keep * len(cells)))]] = True
    return kept


def _chain(space: DecoderSpace, genome: Genome, tensors: Mapping[str, F32]) -> list[_Layer]:
    out = []
    for gene in space.layers(genome):
        weight, bias = tensors[f"{gene.innovation}.weight"], tensors[f"{gene.innovation}.bias"]
        if gene.kind == "seam":
            channels = int(gene["channels"])
            weight, bias = weight.reshape(channels, -1, weight.shape[1]), bias.reshape(channels, -1)
        out.append(_Layer(gene, weight, bias))
    return out


def _tensors(chain: list[_Layer]) -> Tensors:
    out = {}
    for layer in chain:
        weight = layer.weight.reshape(-1, layer.weight.shape[-1]) if layer.gene.kind == "seam" else layer.weight
        out[f"{layer.gene.innovation}.weight"] = np.ascontiguousarray(weight, dtype=np.float32)
        out[f"{layer.gene.innovation}.bias"] = np.ascontiguousarray(layer.bias.ravel(), dtype=np.float32)
    return out


def _without(chain: list[_Layer], child: Genome, rng: np.random.Generator) -> list[_Layer]:
    """Drop layers that the child lacks; what reads them begins anew, for a ReLU stood between the two.

    Products of both layers' weights would give sums many times too large, which training takes long to undo.
    """
    there, out = {g.innovation for g in child.genes}, []
    wide: int | None = None  # inputs of the first layer that was dropped
    for layer in chain:
        if layer.gene.innovation not in there:
            wide = layer.weight.shape[1] if wide is None else wide
            continue
        weight = layer.weight
        if wide is not None:
            shape = (len(weight), wide, *weight.shape[2:])
            weight = rng.normal(0.0, math.sqrt(2 * _taps(layer.gene) / math.prod(shape[1:])), shape).astype(np.float32)
            wide = None
        out.append(replace(layer, weight=weight))
    return out


def _inputs(layer: _Layer) -> int:
    return 2 if layer.gene.kind == "seam" else 1


def _taps(gene: Gene) -> float:
    """Inputs that meet in an output, of a kernel that enlarges."""
    return 4.0 if gene.kind == "conv" and KINDS[int(gene["kind"])] == KINDS[2] else 1.0


def _with_new(space: DecoderSpace, chain: list[_Layer], child: Genome) -> list[_Layer]:
    """Give layers that the chain lacks, and kernels of another kind, their first weights."""
    have, out = {layer.gene.innovation: layer for layer in chain}, []
    wide, halves = chain[0].weight.shape[1], False
    for number, gene in enumerate(space.layers(child)):
        layer = have.get(gene.innovation)
        if layer is None:
            out.append(_identity(gene, wide, first=number == 0))
            halves = halves or number == 0
        else:
            kernel = layer.weight if gene.kind not in ("conv", "head") else _kernel(layer, gene)
            if halves:
                kernel = np.concatenate([kernel, -kernel], axis=_inputs(layer))
            out.append(replace(layer, gene=gene, weight=kernel))
            halves = False
        wide = len(out[-1].weight)
    return out


def _identity(gene: Gene, wide: int, first: bool) -> _Layer:
    eye: F32 = np.eye(wide, dtype=np.float32)
    if gene.kind == "conv":
        eye = _spread_kernel(eye, KINDS[int(gene["kind"])])
    elif first:  # sines are negative, too: behind a ReLU they are the difference of two halves
        eye = np.concatenate([eye, -eye])
    return _Layer(gene, eye, np.zeros(len(eye), dtype=np.float32))


def _spread_kernel(weight: F32, kind: str) -> F32:
    """Weights (out, in) of single places as a kernel of a kind."""
    if kind == KINDS[1]:
        return weight[:, :, None, None]
    if kind == KINDS[2]:
        return weight[:, :, None, None] * np.outer(LINEAR, LINEAR)
    kernel = np.zeros((*weight.shape, 3, 3), dtype=np.float32)
    kernel[:, :, 1, 1] = weight
    return kernel


def _kernel(layer: _Layer, gene: Gene) -> F32:
    if gene["kind"] == layer.gene["kind"]:
        return layer.weight
    return _spread_kernel(layer.weight.sum(axis=(2, 3)) / _taps(layer.gene), KINDS[int(gene["kind"])])


def _on_grid(space: DecoderSpace, chain: list[_Layer], parent: Genome, child: Genome) -> list[_Layer]:
    """Bring the seam's rows onto the child's grid, and the head's filters to its factor."""
    old, new, out = space.cell_px(parent), space.cell_px(child), []
    factors = [int(g.of_kind("seam")[0]["factor"]) for g in (parent, child)]
    for layer in chain:
        weight, bias = layer.weight, layer.bias
        if layer.gene.kind == "seam" and old != new:
            sides = zip(space.grid(parent), space.grid(child), strict=True)
            rows, columns = (_between(a, old, b, new) for a, b in sides)
            weight = _resampled(weight, rows, columns, space.grid(parent))
            bias = _resampled(bias[:, :, None], rows, columns, space.grid(parent))[:, :, 0]
        if layer.gene.kind == "head" and factors[0] != factors[1]:
            side = _between(factors[0], factors[1], factors[1], factors[0])  # of one cell, in parts of it
            flat = layer.weight.reshape(space.shape.n_views, factors[0] ** 2, -1)
            weight = _resampled(flat, side, side, (factors[0],) * 2).reshape(-1, *layer.weight.shape[1:])
            flat = bias.reshape(space.shape.n_views, -1, 1)
            bias = _resampled(flat, side, side, (factors[0],) * 2).reshape(-1)
        out.append(replace(layer, weight=weight, bias=bias))
    return out


def _between(n_old: int, size_old: int, n_new: int, size_new: int) -> F32:
    """(n_new, n_old): every new cell's linear mean of the old ones around its middle."""
    at = np.clip(((np.arange(n_new) + 0.5) * size_new / size_old) - 0.5, 0, n_old - 1)
    low = np.minimum(at.astype(int), max(n_old - 2, 0))
    out = np.zeros((n_new, n_old), dtype=np.float32)
    out[np.arange(n_new), low] = 1 - (at - low)
    out[np.arange(n_new), np.minimum(low + 1, n_old - 1)] += at - low
    return out


def _resampled(values: F32, rows: F32, columns: F32, grid: tuple[int, int]) -> F32:
    """Values (C, rows * columns, n) on another grid."""
    c, _, n = values.shape
    moved = np.einsum("ya,xb,cabn->cyxn", rows, columns, values.reshape(c, *grid, n), optimize=True)
    return np.asarray(moved.reshape(c, -1, n), dtype=np.float32)


def _resized(space: DecoderSpace, chain: list[_Layer], rng: np.random.Generator, moments: Moments) -> list[_Layer]:
    """Widen and narrow the layers of a chain to what the genes at their places say."""
    chain = list(chain)
    for at in range(len(chain) - 1):
        layer, reader = chain[at], chain[at + 1]
        n, wanted, axis = len(layer.weight), space.outputs(layer.gene), _inputs(reader)
        if wanted == n:
            continue
        if wanted > n:
            pick, through = _copied(n, wanted, rng)
        else:
            pick, through = _kept(_moments(layer, moments), np.moveaxis(reader.weight, axis, 0).reshape(n, -1), wanted)
        chain[at] = replace(layer, weight=layer.weight[pick], bias=layer.bias[pick])
        read = np.moveaxis(np.tensordot(reader.weight, through, (axis, 1)), -1, axis)
        chain[at + 1] = replace(reader, weight=np.asarray(read, dtype=np.float32))
    return chain


def _copied(n: int, wanted: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], F64]:
    """Which units are taken, some several times, and what share (wanted, n) of the old ones' work each does.

    Copies do unequal shares: equal ones would learn the same and stay copies.
    """
    pick = np.concatenate([np.arange(n), rng.integers(n, size=wanted - n)])
    through = np.zeros((wanted, n))
    through[np.arange(wanted), pick] = rng.uniform(0.5, 1.5, wanted)
    return pick, through / through.sum(axis=0)


def _moments(layer: _Layer, moments: Moments) -> F64:
    found = moments.get(str(layer.gene.innovation))
    if found is not None and len(found) == len(layer.weight):
        return found
    return np.diag(np.square(layer.weight.reshape(len(layer.weight), -1)).sum(axis=1).astype(np.float64))


def _kept(moments: F64, readers: F32, wanted: int) -> tuple[NDArray[np.int64], F64]:
    """Which units are kept, and the old ones as sums (wanted, n) of them.

    One after the other, the unit is taken that matters most of what the earlier ones leave unexplained.

    Args:
        moments: (n, n) of the units' outputs.
        readers: (n, whatever) weights that read them.
        wanted: how many are kept.
    """
    weigh = np.linalg.norm(readers.astype(np.float64), axis=1)
    rest = moments * weigh * weigh[:, None]
    pick: list[int] = []
    for _ in range(wanted):
        left = np.diagonal(rest).copy()
        left[pick] = -np.inf
        best = int(left.argmax())
        pick.append(best)
        if left[best] > 0:
            rest = rest - np.outer(rest[:, best], rest[best]) / left[best]
    kept = np.sort(pick)
    own = moments[np.ix_(kept, kept)]
    ridge = RIDGE * max(float(np.trace(own)) / wanted, 1e-12) * np.eye(wanted)
    through: F64 = np.linalg.solve(own + ridge, moments[kept])
    return kept, through
