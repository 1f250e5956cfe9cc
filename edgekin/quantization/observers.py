"""Observers: how far up the activations of a layer reach, and where to clip them for int8.

One streaming histogram of magnitudes serves all four methods, so that trying another one costs no second pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekin.errors import ConfigError
from edgekin.quantization.affine import Q_MAX

Float = NDArray[np.float64]

#: Codes 0..127 of a magnitude.
_LEVELS = Q_MAX + 1


class MagnitudeHistogram:
    """A histogram of |x| over [0, upper) that doubles its range when a larger value arrives.

    Doubling merges neighbouring bins exactly, so that the result does not depend on how the data were batched.
    Exact zeros are counted apart: int8 represents them without error, and after a ReLU they would outweigh the rest.

    Args:
        n_bins: even number of bins.
    """

    def __init__(self, n_bins: int = 4096) -> None:
        self.counts: NDArray[np.int64] = np.zeros(n_bins, np.int64)
        self.upper = 0.0
        self.max_abs = 0.0
        self.zeros = 0

    def update(self, x: ArrayLike) -> None:
        """Add every element of a tensor of any shape; raises ConfigError on NaN or infinity."""
        magnitude = np.abs(np.asarray(x, np.float64)).ravel()
        if magnitude.size == 0:
            return
        largest = float(magnitude.max())
        if not np.isfinite(largest):
            raise ConfigError("an activation of the calibration samples is not finite",
                              "Train the model again: its weights have diverged")
        if largest > 0.0:
            self._reach(largest)
        self.max_abs = max(self.max_abs, largest)
        nonzero = magnitude[magnitude > 0.0]
        self.zeros += magnitude.size - nonzero.size
        if nonzero.size:
            n = self.counts.size
            index = np.minimum((nonzero * (n / self.upper)).astype(np.int64), n - 1)
            self.counts += np.bincount(index, minlength=n)

    def _reach(self, largest: float) -> None:
        """Widen the range to a power of two that holds the value."""
        if self.upper == 0.0:
            self.upper = float(2.0 ** np.ceil(np.log2(largest)))
        while self.upper < largest:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self.upper *= 2.0

    @property
    def edges(self) -> Float:
        """(n_bins + 1,) the borders of the bins."""
        return np.linspace(0.0, self.upper, self.counts.size + 1)

    @property
    def used(self) -> int:
        """Number of bins up to and including the last one that holds anything."""
        filled = np.flatnonzero(self.counts)
        return int(filled[-1]) + 1 if filled.size else 0


def minmax(histogram: MagnitudeHistogram) -> float:
    """Return the largest magnitude seen: nothing is clipped."""
    return histogram.max_abs


def percentile(histogram: MagnitudeHistogram, share: float = 99.99) -> float:
    """Return the magnitude below which `share` percent of the non-zero values lie, interpolated within its bin."""
    total = int(histogram.counts.sum())
    if total == 0:
        return 0.0
    wanted = share / 100.0 * total
    cumulative = np.cumsum(histogram.counts)
    index = int(np.searchsorted(cumulative, wanted))
    index = min(index, histogram.used - 1)
    before = float(cumulative[index - 1]) if index else 0.0
    inside = (wanted - before) / max(float(histogram.counts[index]), 1.0)
    width = histogram.upper / histogram.counts.size
    return float(min((index + np.clip(inside, 0.0, 1.0)) * width, histogram.max_abs))


def mse(histogram: MagnitudeHistogram, n_candidates: int = 120) -> float:
    """Return the threshold with the least squared error of quantizing and clipping the histogram's bin centres."""
    if histogram.used == 0:
        return 0.0
    used = histogram.used
    edges = histogram.edges
    centres = 0.5 * (edges[:used] + edges[1 : used + 1])
    weights = histogram.counts[:used].astype(np.float64)
    candidates = histogram.max_abs * np.linspace(1.0, 0.05, n_candidates)
    errors = []
    for threshold in candidates:
        scale = threshold / Q_MAX
        restored = np.minimum(np.rint(centres / scale), Q_MAX) * scale
        errors.append(float(weights @ np.square(centres - restored)))
    return float(candidates[int(np.argmin(errors))])


def entropy(histogram: MagnitudeHistogram, stride: int = 16) -> float:
    """Return the threshold whose 128-level version of the distribution loses the least information (KL divergence).

    For each prefix of i bins: P holds the prefix with everything beyond it added to its last bin; Q is the same prefix
    merged into 128 levels and spread again over the bins that were not empty. The threshold is the end of the prefix
    with the least KL(P || Q).

    Source: S. Migacz, "8-bit inference with TensorRT", GTC 2017, pages 30-38.
    """
    used = histogram.used
    if used <= _LEVELS:
        return histogram.max_abs
    width = histogram.upper / histogram.counts.size
    stops = [*range(_LEVELS, used, stride), used]
    losses = [_divergence(histogram.counts, stop) for stop in stops]
    return float(min(stops[int(np.argmin(losses))] * width, histogram.max_abs))


def _divergence(counts: NDArray[np.int64], stop: int) -> float:
    """Return KL(P || Q) in nats of the prefix of `stop` bins."""
    inside = counts[:stop].astype(np.float64)
    p = inside.copy()
    p[-1] += float(counts[stop:].sum())
    starts = np.arange(_LEVELS) * stop // _LEVELS
    sizes = np.diff(np.append(starts, stop))
    filled = np.add.reduceat((inside > 0).astype(np.float64), starts)
    level = np.add.reduceat(inside, starts) / np.maximum(filled, 1.0)
    q = np.where(inside > 0, np.repeat(level, sizes), 0.0)
    if q.sum() == 0.0:
        return float("inf")
    p, q = p / p.sum(), q / q.sum()
    # The clipped mass may stand in a bin that was empty: a thousandth of a uniform distribution keeps KL finite.
    q = 0.999 * q + 0.001 / stop
    some = p > 0
    return float(np.sum(p[some] * np.log(p[some] / q[some])))


#: method -> its threshold, given the histogram and the profile's percentile.
METHODS: dict[str, Callable[[MagnitudeHistogram, float], float]] = {
    "minmax": lambda histogram, share: minmax(histogram),
    "percentile": percentile,
    "mse": lambda histogram, share: mse(histogram),
    "entropy": lambda histogram, share: entropy(histogram),
}
