"""What a decoder inherits: its parent's weights, brought into its own modules.

The parent is changed step by step until it has the child's modules. Widening and new hidden layers keep the function
(Chen, Goodfellow & Shlens, Net2Net, 2016); narrowing keeps the units of the largest magnitude; a map on another grid,
or a head of another factor, is enlarged or shrunk as the picture that it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekin.evolution.decoder_space import KINDS, DecoderSpace
from edgekin.evolution.genome import Gene, Genome

F32 = NDArray[np.float32]
#: innovation.weight, innovation.bias -> numbers, of every layer; transposed convolutions as (out, in, 4, 4), too.
Tensors = dict[str, F32]
#: A cell that is not kept: no weights, and a bias that its ReLU never lets through. No gradient ever reaches it.
SILENT = -1.0
#: One axis of the transposed convolution that enlarges a map linearly.
LINEAR = np.array([0.25, 0.75, 0.75, 0.25], dtype=np.float32)


@dataclass(frozen=True)
class _Layer:
    gene: Gene
    weight: F32  # (out, in) or (out, in, k, k); the seam's (channels, cells, in)
    bias: F32  # (out,); the seam's (channels, cells)


def inherited(space: DecoderSpace, parent: Genome, tensors: Mapping[str, F32], child: Genome,
              rng: np.random.Generator) -> Tensors:
    """Return a child's weights, made of its parent's.

    Args:
        space: of both.
        parent: whose weights they are.
        tensors: they.
        child: to be given weights.
        rng: chooses what is copied where a layer becomes wider.
    """
    chain = _chain(space, parent, tensors)
    chain = _without(chain, child)
    chain = _with_new(space, chain, child)
    chain = _on_grid(space, chain, parent, child)
    return _tensors(_resized(chain, rng))


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


def kept_cells(often: F32, cell_px: int, grid: tuple[int, int], keep: float) -> NDArray[np.bool_]:
    """Return which of the cells (rows * columns,) are kept: the share of them where the robot is most often."""
    padded = np.zeros((grid[0] * cell_px, grid[1] * cell_px), dtype=np.float32)
    padded[: often.shape[0], : often.shape[1]] = often
    cells = padded.reshape(grid[0], cell_px, grid[1], cell_px).max(axis=(1, 3)).ravel()
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


def _without(chain: list[_Layer], child: Genome) -> list[_Layer]:
    """Drop layers that the child lacks; what reads them reads their inputs through their weights."""
    there, out = {g.innovation for g in child.genes}, []
    through: F32 | None = None
    for layer in chain:
        weight, bias = layer.weight, layer.bias
        if through is not None:
            weight = np.moveaxis(np.tensordot(weight, through, (_inputs(layer), 0)), -1, _inputs(layer))
            through = None
        if layer.gene.innovation in there:
            out.append(replace(layer, weight=weight, bias=bias))
        else:
            through = weight if weight.ndim == 2 else weight.sum(axis=(2, 3)) / _taps(layer.gene)
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


def _resized(chain: list[_Layer], rng: np.random.Generator) -> list[_Layer]:
    """Widen and narrow the layers of a chain to what the genes at their places say."""
    chain = list(chain)
    for at in range(len(chain) - 1):
        layer, reader = chain[at], chain[at + 1]
        wanted = _wanted(layer.gene)
        if wanted == len(layer.weight):
            continue
        axis = _inputs(reader)
        pick, share = _pick(layer, np.moveaxis(reader.weight, axis, 0), wanted, rng)
        shape = [1] * reader.weight.ndim
        shape[axis] = -1
        chain[at] = replace(layer, weight=layer.weight[pick], bias=layer.bias[pick])
        chain[at + 1] = replace(reader, weight=np.take(reader.weight, pick, axis) * share.reshape(shape))
    return chain


def _wanted(gene: Gene) -> int:
    return int(gene["channels"] if gene.kind == "seam" else gene["width"])


def _pick(layer: _Layer, readers: F32, wanted: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], F32]:
    """Which units are taken, some several times, and what share of the old one's work each does.

    Copies do unequal shares: equal ones would learn the same and stay copies.
    """
    n = len(layer.weight)
    if wanted <= n:
        magnitude = np.linalg.norm(layer.weight.reshape(n, -1), axis=1) * np.linalg.norm(readers.reshape(n, -1), axis=1)
        return np.sort(np.argsort(-magnitude, kind="stable")[:wanted]), np.ones(wanted, dtype=np.float32)
    pick = np.concatenate([np.arange(n), rng.integers(n, size=wanted - n)])
    part = rng.uniform(0.5, 1.5, wanted)
    total = np.zeros(n)
    np.add.at(total, pick, part)
    return pick, (part / total[pick]).astype(np.float32)
