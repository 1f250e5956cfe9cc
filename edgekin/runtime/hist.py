"""Latency histograms of the C library, and the summary of one that reports carry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgekin._ek import ffi, lib

#: Below so many samples fewer than ten lie beyond p99.9: the figure would be an anecdote, so it is not given.
P99_9_MIN_SAMPLES = 10_000


@dataclass(frozen=True)
class Percentiles:
    """The summary of one histogram; all durations in microseconds, to 1/128 of their value."""

    n: int
    p50: float  # us
    p99: float  # us
    p99_9: float | None  # us; None below 10,000 samples
    max: float  # us, exact
    mean: float  # us
    overflow: int  # samples of 2^36 ns (69 s) or more; they count in n and max
    underflow: int  # negative samples: a clock fault

    def to_json(self) -> dict[str, float | int | None]:
        """Return the fields that `edgekin.bench/1` asks for, and the counts of what did not fit."""
        return {"p50": self.p50, "p99": self.p99, "p99_9": self.p99_9, "max": self.max, "n": self.n,
                "overflow": self.overflow, "underflow": self.underflow}


def summarize(hist: Any) -> Percentiles:
    """Return the percentiles of an `ek_hist` (a cffi pointer)."""
    def at(p: float) -> float:
        return round(float(lib.ek_hist_percentile(hist, p)) / 1e3, 3)

    n = int(hist.count)
    return Percentiles(n=n, p50=at(0.5), p99=at(0.99), p99_9=at(0.999) if n >= P99_9_MIN_SAMPLES else None,
                       max=at(1.0), mean=round(float(hist.sum_ns) / max(n, 1) / 1e3, 3), overflow=int(hist.overflow),
                       underflow=int(hist.underflow))


class Histogram:
    """A log-linear histogram of nanoseconds: exact below 128 ns, then to 1/128 of the value."""

    def __init__(self) -> None:
        self._hist = ffi.new("ek_hist *")

    def add(self, values_ns: Iterable[int]) -> None:
        """Add every value, ns."""
        for value in values_ns:
            lib.ek_hist_add(self._hist, value)

    def percentile_ns(self, p: float) -> int:
        """Return the smallest value, ns, that a share p of the samples does not exceed."""
        return int(lib.ek_hist_percentile(self._hist, p))

    def summary(self) -> Percentiles:
        """Return the summary of what was added."""
        return summarize(self._hist)
