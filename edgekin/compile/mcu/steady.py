"""Which places of a decoder's maps never change, whatever the joints do, and what they are then.

A cell of the map that a code is spread over has no weights where the robot never is: its outputs are constants, and so
is what convolutions make of neighbourhoods of such cells. The exporter writes them instead of computing them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgekin.quantization.qgraph import QuantGraph, QuantLayer, apply_int8, outputs_int8

Bools = NDArray[np.bool_]
#: Layers that only move numbers to other places.
MOVING = ("reshape", "pixel_shuffle", "crop")
#: Above this share of places that are computed all the same, leaving out the others does not pay.
WORTH_BELOW = 0.9
#: Of a span, in places, and of different outputs that are written: both are bytes.
LONGEST, MOST_OUTPUTS = 255, 255


@dataclass(frozen=True)
class Steady:
    """A layer's output."""

    values: NDArray[np.int8]  # (C, H, W), for any joint angles
    changing: Bools  # (C, H, W)

    def spans(self) -> Spans | None:
        """Return what is to be computed; None where that is nearly all of it."""
        changing = self.changing.any(axis=0)
        still = self.values[:, ~changing].T
        if not len(still):
            return None
        rest, which, often = np.unique(still, axis=0, return_inverse=True, return_counts=True)
        order = np.argsort(-often, kind="stable")[:MOST_OUTPUTS]
        number = np.zeros(len(rest), dtype=np.uint8)
        number[order] = np.arange(1, len(order) + 1)
        places = np.zeros(changing.shape, dtype=np.uint8)
        places[~changing] = number[which.ravel()]
        found = Spans(np.array([span for row in places for span in _row(row)], dtype=np.uint8), rest[order])
        return found if found.places < WORTH_BELOW * changing.size else None


def _row(row: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Lengths of the spans of a row, none longer than a byte tells, and what stands in them."""
    starts = sorted({0, *(np.flatnonzero(np.diff(row)) + 1), *range(0, len(row), LONGEST)})
    return [(end - start, int(row[start])) for start, end in pairwise([*starts, len(row)])]


@dataclass(frozen=True)
class Spans:
    """The rows of a map, one after the other, as spans of places."""

    rows: NDArray[np.uint8]  # (spans, 2): places; 0: they are computed, else the number of their output, from 1
    rest: NDArray[np.int8]  # (outputs, C): what places are that are not computed

    @property
    def places(self) -> int:
        """How many are computed."""
        return int(self.rows[self.rows[:, 1] == 0, 0].astype(int).sum())


def steady(graph: QuantGraph) -> dict[str, Steady]:
    """Return the output of every convolution, by its layer's name, in a decoder of which something never changes."""
    found: dict[str, Steady] = {}
    enlarged = {after.name for layer, after in pairwise(graph.layers) if layer.kind == "resize"}
    changing: Bools = np.ones((1, 1, 1, 1), dtype=np.bool_)
    for layer, x in outputs_int8(graph, np.zeros((1, graph.n_joints), dtype=np.float32)):
        changing = np.ones_like(x, dtype=np.bool_) if layer.name in enlarged else _changing(layer, changing, x.shape)
        if layer.kind in ("conv", "convt") and not changing.all():
            found[layer.name] = Steady(x[0].astype(np.int8), changing[0])
    return found


def _changing(layer: QuantLayer, before: Bools, shape: tuple[int, ...]) -> Bools:
    if layer.kind in MOVING:
        moved: Bools = apply_int8(layer, before)
        return moved
    if layer.kind == "linear":
        assert layer.weight is not None
        rows: Bools = (layer.weight[:, np.broadcast_to(before.ravel(), layer.weight.shape[1])] != 0).any(axis=1)
        return rows.reshape(shape)
    if layer.kind in ("conv", "convt"):
        seen: Bools = before[0].any(axis=0)
        for axis, to in enumerate(shape[2:]):
            seen = np.moveaxis(np.moveaxis(seen, axis, -1) @ _reach(layer, seen.shape[axis], to).T, -1, axis)
        return np.asarray(np.broadcast_to(seen, shape))
    return np.ones(shape, dtype=np.bool_)


def _reach(layer: QuantLayer, size_in: int, size_out: int) -> Bools:
    """(size_out, size_in): which inputs of an axis an output sees."""
    assert layer.weight is not None
    k, pad = layer.weight.shape[2], layer.attrs["pad"]
    out, of = np.arange(size_out)[:, None], np.arange(size_in)
    place = of - out + pad if layer.kind == "conv" else out + pad - of * layer.attrs["stride"]
    seen: Bools = (place >= 0) & (place < k)
    return seen
