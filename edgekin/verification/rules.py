"""Rules that make an alarm of residuals, each with one threshold: the baselines that need no library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from edgekin.detection.calibration import Float
from edgekin.verification.observed import Observed

#: Euler's constant and ln 2, of the Gumbel distribution's L-moments. Source: Hosking 1990, table 1.
EULER, LN2 = 0.5772156649015329, float(np.log(2.0))
#: Reference value of a CUSUM: half the shift that it is to find, one standard deviation. Source: Page 1954.
K = 0.5
#: What one frame may add to a CUSUM, so that one absurd frame makes no alarm, standard deviations.
CLIP = 8.0


class Rule(ABC):
    """A detector whose strictness is one number; everything else is fitted to healthy streams."""

    name: str

    @abstractmethod
    def fit(self, healthy: Sequence[Observed]) -> None:
        """Take from healthy streams whatever is no threshold."""

    @abstractmethod
    def start(self, threshold: float) -> None:
        """Begin a stream."""

    @abstractmethod
    def first(self, seen: Observed) -> int | None:
        """Go on with the stream; return the index of the first alarm in this chunk."""

    @abstractmethod
    def peak(self, seen: Observed) -> float:
        """Return the least threshold at which a whole stream makes no alarm."""


class Statistic(Rule):
    """A rule that alarms where a number for every frame exceeds the threshold."""

    threshold: float
    values: Float  # of the last chunk

    @abstractmethod
    def restart(self) -> None:
        """Forget the stream."""

    @abstractmethod
    def of(self, seen: Observed) -> Float:
        """Go on with the stream; return the statistic (N,) of the chunk."""

    def start(self, threshold: float) -> None:
        self.threshold, self.values = threshold, np.zeros(0)
        self.restart()

    def first(self, seen: Observed) -> int | None:
        self.values = self.of(seen)
        over = np.flatnonzero(self.values > self.threshold)
        return int(over[0]) if len(over) else None

    def peak(self, seen: Observed) -> float:
        self.restart()
        return float(self.of(seen).max())


class Residual(Statistic):
    """The residual of one frame: its negative log-likelihood per pixel."""

    name = "threshold"

    def fit(self, healthy: Sequence[Observed]) -> None:
        pass

    def restart(self) -> None:
        pass

    def of(self, seen: Observed) -> Float:
        return seen.nll


class Cusum(Statistic):
    """Page's CUSUM of the standardised residual: s = max(0, s + min(z, CLIP) - K)."""

    name = "cusum"

    def fit(self, healthy: Sequence[Observed]) -> None:
        residual = np.concatenate([seen.nll for seen in healthy])
        self.mean, self.std = float(residual.mean()), float(residual.std())

    def standardised(self, seen: Observed) -> Float:
        """Return z (N,), standard deviations."""
        z: Float = (seen.nll - self.mean) / self.std
        return z

    def restart(self) -> None:
        self._s = 0.0

    def of(self, seen: Observed) -> Float:
        path = self._s + np.cumsum(np.minimum(self.standardised(seen), CLIP) - K)
        s: Float = path - np.minimum(0.0, np.minimum.accumulate(path))
        self._s = float(s[-1])
        return s


class RegionCusum(Cusum):
    """The same with the residual standardised by the bundle's regions of poses first."""

    name = "cusum-regions"

    def fit(self, healthy: Sequence[Observed]) -> None:
        z = np.concatenate([seen.z for seen in healthy])
        self.mean, self.std = float(z.mean()), float(z.std())

    def standardised(self, seen: Observed) -> Float:
        z: Float = (seen.z - self.mean) / self.std
        return z


def threshold_of(peaks: Float, stream_hours: float, alarms_per_hour: float) -> float:
    """Return the threshold that healthy streams exceed so often.

    The largest values of the streams are taken for a Gumbel distribution, fitted by L-moments (b = lambda2 / ln 2, a =
    mean - 0.5772 b); its quantile is a - b ln(rate x length). It is never below the largest value seen.

    Args:
        peaks: (S,) the largest statistic of every stream.
        stream_hours: length of a stream.
        alarms_per_hour: wanted.

    Source: Hosking 1990, L-moments, table 2; Coles 2001, chapter 3.
    """
    ordered, n = np.sort(peaks), len(peaks)
    second = float((2.0 * np.arange(n) / max(n - 1, 1) * ordered).mean() - ordered.mean()) if n > 1 else 0.0
    scale = second / LN2
    quantile = float(ordered.mean()) - EULER * scale - scale * float(np.log(alarms_per_hour * stream_hours))
    return max(quantile, float(ordered[-1]))
