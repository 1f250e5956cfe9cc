"""Weights as the kernels of engines/mcu read them: blocks of four rows, in one of three layouts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.quantization.qgraph import QMAX

I8 = NDArray[np.int8]
ROWS = 4  # of a block
#: layout -> inputs that a kernel takes at once, in 8 and in 16 bits.
STEP = {"rows": (4, 4), "pairs": (4, 4), "wide": (16, 8)}
#: layout -> inputs of a sparse block (EK_CHUNK).
CHUNK = {"rows": 2, "pairs": 2, "wide": 16}
#: A packed row's sum must stay below this: engines/mcu/dot_pairs.h.
PACKED_LIMIT = 1 << 23
#: Above this share of blocks that are not zero, skipping the others costs more instructions than it saves.
SPARSE_BELOW = 0.7
#: The same of whole blocks of rows, which cost nothing to skip.
RUNS_BELOW = 0.95


def padded(n: int, step: int) -> int:
    """Return n rounded up to whole steps."""
    return -(-n // step) * step


def provable(weight: I8) -> bool:
    """Tell whether the second row of every pair of (rows, inputs) can be packed: |sum| < 2^23 whatever the input."""
    total = np.abs(weight.astype(np.int64)).sum(axis=1)
    return bool((QMAX * total[1::2] < PACKED_LIMIT).all())


def packed(weight: I8, layout: str, fine: bool = False, plain: bool = False) -> I8:
    """Return the weights (rows, inputs) in a layout, (blocks, bytes of a block), padded with zeros.

    Args:
        weight: a segment's inputs are padded to whole steps already where there is more than one.
        layout: rows, pairs or wide.
        fine: for inputs in 16 bits.
        plain: of layout pairs: not packed.
    """
    rows, inputs = weight.shape
    step = STEP[layout][fine]
    out: NDArray[np.int8]
    w: I8 = np.zeros((padded(rows, ROWS), padded(inputs, step)), dtype=np.int8)
    w[:rows, :inputs] = weight
    if layout == "rows":
        out = w.reshape(-1, ROWS, w.shape[1]).transpose(0, 2, 1)
    elif layout == "wide":
        out = w.reshape(-1, ROWS, w.shape[1] // step, step).transpose(0, 2, 1, 3)
    else:
        if not (fine or plain):
            w[1::2] -= w[::2] < 0  # a lane is 256 w1 + w0: where w0 is negative it borrows
        out = w.reshape(-1, 2, 2, w.shape[1] // 2, 2).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(out.reshape(len(w) // ROWS, -1))


@dataclass(frozen=True)
class Sparse:
    """Weights without blocks of zeros."""

    kernel: str  # linear_sparse or linear_runs
    weight: I8  # (bytes,)
    at: NDArray[np.uint16]  # what is left out, as the kernel reads it
    kept: NDArray[np.bool_] | None = None  # linear_runs: the blocks of rows that are there; None: all


def sparse(weight: I8, layout: str, silent: NDArray[np.bool_]) -> Sparse | None:
    """Return the weights (rows, inputs) without blocks of zeros, where that pays.

    Args:
        weight: whole.
        layout: of it.
        silent: (rows,) whether an output is zero where its row has no weights.
    """
    kept, blocks = _blocks(weight, layout)
    quiet = np.ones(padded(len(weight), ROWS), dtype=np.bool_)
    quiet[: len(weight)] = silent
    there: NDArray[np.bool_] = np.asarray(kept.any(axis=1)) | ~quiet.reshape(-1, ROWS).all(axis=1)
    if 0 < there.mean() <= RUNS_BELOW and kept[there].mean() > SPARSE_BELOW and len(there) <= 0xFFFF:
        lengths = np.diff([0, *(np.flatnonzero(np.diff(there)) + 1), len(there)])
        runs = [0, *lengths] if there[0] else [*lengths]
        at = np.array([*runs, *[0] * (len(runs) % 2)], dtype=np.uint16)
        return Sparse("linear_runs", blocks[there].ravel(), at, there)
    if kept.mean() > SPARSE_BELOW or weight.shape[1] > 0xFFFF:
        return None
    chunks: list[int] = []
    for row in kept:
        where = np.flatnonzero(row)
        chunks += [len(where), *(where * CHUNK[layout]).tolist()]
    return Sparse("linear_sparse", blocks[kept].ravel(), np.array(chunks, dtype=np.uint16))


def _blocks(weight: I8, layout: str) -> tuple[NDArray[np.bool_], I8]:
    """Which blocks of the packed weights are not zero, (blocks of rows, blocks of inputs), and they."""
    dense = packed(weight, layout)
    blocks = dense.reshape(len(dense), -1, CHUNK[layout] * ROWS)
    return np.asarray(blocks.any(axis=2)), blocks


def phases(weight: I8, stride: int, step: int) -> I8:
    """Part a transposed convolution's kernel into its phases.

    Args:
        weight: (in, out, k, k).
        stride: of the transposed convolution.
        step: inputs that a kernel takes at once; every row of pixels is padded to whole ones.

    Returns:
        (stride^2, out, taps * segment): for phase (y, x) the kernel that its outputs see, top left first.
    """
    channels, outputs, k, _ = weight.shape
    taps = -(-k // stride)
    whole = np.zeros((channels, outputs, taps * stride, taps * stride), dtype=np.int8)
    whole[:, :, :k, :k] = weight
    parts = whole.reshape(channels, outputs, taps, stride, taps, stride)[:, :, ::-1, :, ::-1]
    parts = parts.transpose(3, 5, 1, 2, 4, 0).reshape(stride**2, outputs, taps, taps * channels)
    out = np.zeros((*parts.shape[:3], padded(taps * channels, step)), dtype=np.int8)
    out[..., : taps * channels] = parts
    return out.reshape(stride**2, outputs, -1)


def turned(weight: I8) -> I8:
    """Return a convolution's kernel (out, in, k, k) as that of the transposed one with stride 1, (in, out, k, k)."""
    return np.ascontiguousarray(weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
