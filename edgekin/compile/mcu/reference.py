"""The integer arithmetic of the exported C in numpy: from joint angles in 2^-28 of a turn to logits and a score.

Between the joints' 16 bits and the logits it is the integer graph itself (edgekin.quantization.qgraph).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError
from edgekin.quantization.qgraph import JOINT_MAX, QuantGraph, QuantLayer, forward_int8

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
#: Joint angles are whole numbers of 2^-28 turns: within +-8 turns, 2.3e-8 rad apart. Metres count as radians.
UNITS_PER_RAD = 2**28 / (2 * math.pi)
#: Taylor's series of sin(x pi / 4) / x and cos(x pi / 4) in x^2, in 2^-30, the last term first.
SIN = (336, -39273, 2674041, -86699834, 843314857)
COS = (-26, 3856, -350031, 17023473, -331168970, 1 << 30)
ONE = 30


def to_units(joint_pos: NDArray[np.float64]) -> I32:
    """Return joint angles (rad) in 2^-28 of a turn; raises ConfigError beyond +-8 turns."""
    units = np.rint(np.asarray(joint_pos, np.float64) * UNITS_PER_RAD)
    if not (np.abs(units) < 2**31).all():
        raise ConfigError("a joint angle is beyond 8 turns", "Give angles in rad")
    return units.astype(np.int32)


def _horner(s: I64, terms: tuple[int, ...]) -> I64:
    y = np.full_like(s, terms[0])
    for term in terms[1:]:
        y = term + (s * y >> ONE)
    return y


def sine(turn: NDArray[np.uint32]) -> I64:
    """Return the sine of angles in 2^-32 of a turn, in 2^-30: engines/mcu/input.h."""
    wide = turn.astype(np.int64)
    quarter = (wide + (1 << 29) & 0xFFFFFFFF) >> 30
    x = (((wide - (quarter << 30)) + (1 << 31) & 0xFFFFFFFF) - (1 << 31)) * 2
    s = x * x >> ONE
    y = np.where(quarter & 1, _horner(s, COS), x * _horner(s, SIN) >> ONE)
    return np.where(quarter & 2, -y, y)


def joints_scale(layer: QuantLayer) -> tuple[int, int]:
    """Return (multiplier, shift): a `joints` layer's level is round(units * multiplier / 2^shift)."""
    ratio = 1 / (UNITS_PER_RAD * layer.out_scale)
    shift = min(61, 30 - math.frexp(ratio)[1])
    if not shift >= 1:
        raise ConfigError(f"layer {layer.name} has the output scale {layer.out_scale:.3g}, far too small")
    return round(math.ldexp(ratio, shift)), shift


def levels(layer: QuantLayer, units: I32) -> NDArray[np.int16]:
    """Return what the first layer, sincos or joints, makes of (N, J) units: (N, 2J or J)."""
    if layer.kind == "sincos":
        turn = (units.astype(np.int64) << 4 & 0xFFFFFFFF).astype(np.uint32)
        y = sine(np.concatenate([turn, turn + np.uint32(1 << 30)], axis=1))
        return np.asarray(y * JOINT_MAX + (1 << 29) >> 30, dtype=np.int16)
    multiplier, shift = joints_scale(layer)
    y = units.astype(np.int64) * multiplier + (1 << shift - 1) >> shift
    return np.asarray(np.clip(y, -JOINT_MAX, JOINT_MAX), dtype=np.int16)


def predict(graph: QuantGraph, units: I32) -> NDArray[np.int8]:
    """Return the integer logits (N, V, H, W) at (N, J) units."""
    first = graph.layers[0]
    x = levels(first, units)
    ready = replace(first, kind="joints", out_scale=1.0)
    return forward_int8(replace(graph, n_joints=x.shape[1], layers=(ready, *graph.layers[1:])), x.astype(np.float32))


@dataclass(frozen=True)
class ScoreUnits:
    """In what units a score's sums are, so that a row's fit into 32 bits."""

    nll_bits: int  # 2^-nll_bits nats
    squared_bits: int


def score_units(width: int, largest_log_odds: float) -> ScoreUnits:
    """Return the units for pictures of a width."""
    row, largest = width.bit_length(), math.frexp(1 + largest_log_odds)[1]
    return ScoreUnits(min(24, 32 - row - largest), min(24, 31 - row))


#: In the word of the squared error: the prediction is above 0 (EK_LIKELY_AT).
LIKELY_AT = 28


def pixels(units: ScoreUnits, log_odds: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return what a pixel that is off adds, by its prediction as an unsigned byte.

    Args:
        units: of the sums.
        log_odds: (256,) that a prediction means.

    Returns:
        (257, 2): nll; squared error, and from LIKELY_AT on whether the prediction is above 0. The last is 0's for a
        pixel that is on: its negative, which is looked up, would be above 0 if it were not itself 0.
    """
    softplus = np.maximum(log_odds, 0) + np.log1p(np.exp(-np.abs(log_odds)))
    p = 1 / (1 + np.exp(-log_odds))
    likely = np.arange(256).astype(np.uint8).view(np.int8) > 0
    squared = np.rint(np.ldexp(p * p, units.squared_bits)).astype(np.uint32) | likely.astype(np.uint32) << LIKELY_AT
    table = np.stack([np.rint(np.ldexp(softplus, units.nll_bits)).astype(np.uint32), squared], axis=1)
    return np.concatenate([table, table[:1] | np.array([0, 1 << LIKELY_AT], dtype=np.uint32)])


def score(logits: NDArray[np.int8], packed: NDArray[np.uint8], table: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return nll, squared error, predicted, observed and intersection of (N, V, H, W) logits against packed masks.

    Args:
        logits: int8.
        packed: (N, V, H, ceil(W / 8)).
        table: of `pixels`.

    Returns:
        (N, 5) in the order of edgekin_score_t.
    """
    on = np.unpackbits(packed, axis=-1, count=logits.shape[-1]).astype(bool)
    at = np.where(on, -logits.astype(np.int16), logits).astype(np.int8).view(np.uint8)
    likely, axes, squared = logits > 0, (1, 2, 3), table[:, 1] & np.uint32((1 << LIKELY_AT) - 1)
    sums = [table[at, 0].sum(axes, dtype=np.uint64), squared[at].sum(axes, dtype=np.uint64), likely.sum(axes),
            on.sum(axes), (likely & on).sum(axes)]
    return np.stack(sums, axis=1).astype(np.uint64)
