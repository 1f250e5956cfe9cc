"""Detectors of well-kept libraries on the same residuals: river's of drift, pyod's of outliers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekin.detection.calibration import Float
from edgekin.errors import MissingExtra
from edgekin.verification.observed import Observed
from edgekin.verification.rules import K, Rule, Statistic

#: package -> the extra that brings it.
PACKAGES = {"river": "verify", "pyod": "verify"}
#: Halvings in the search for the threshold at which a stream just makes no alarm.
HALVINGS = 24
#: ADWIN's strictness is -ln(delta); exp(-700) is about the smallest number that a float holds.
MOST_STRICT = 700.0
#: Every so many calibration frames one is enough to learn from.
FIT_EVERY = 5


def need_libraries() -> None:
    """Raise MissingExtra where one of them is not installed."""
    for package, extra in PACKAGES.items():
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, extra)


class Drift(Rule):
    """A detector of drift, which has no statistic to read: its threshold is found by trying."""

    most: float  # a threshold at which nothing alarms

    def make(self, threshold: float) -> Any:
        """Return a fresh detector."""
        raise NotImplementedError

    def inputs(self, seen: Observed) -> list[float]:
        """Return what it is fed with."""
        raise NotImplementedError

    def start(self, threshold: float) -> None:
        self._detector = self.make(threshold)

    def first(self, seen: Observed) -> int | None:
        return _first(self._detector, self.inputs(seen))

    def peak(self, seen: Observed) -> float:
        inputs, low, high = self.inputs(seen), 0.0, self.most
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if _first(self.make(middle), inputs) is not None else (low, middle)
        return high


def _first(detector: Any, inputs: list[float]) -> int | None:
    for index, value in enumerate(inputs):
        detector.update(value)
        if detector.drift_detected:
            return index
    return None


class PageHinkley(Drift):
    """river's Page-Hinkley test of an increase of the standardised residual."""

    name = "page-hinkley"
    most = 1e6

    def fit(self, healthy: Sequence[Observed]) -> None:
        residual = np.concatenate([seen.nll for seen in healthy])
        self.mean, self.std = float(residual.mean()), float(residual.std())

    def make(self, threshold: float) -> Any:
        from river.drift import PageHinkley as Test

        return Test(threshold=threshold, delta=K, mode="up")

    def inputs(self, seen: Observed) -> list[float]:
        return [float(v) for v in (seen.nll - self.mean) / self.std]


class Adwin(Drift):
    """river's ADWIN, which compares the means of all ways to cut its window in two; it asks for values in [0, 1]."""

    name = "adwin"
    most = MOST_STRICT

    def fit(self, healthy: Sequence[Observed]) -> None:
        residual = np.concatenate([seen.nll for seen in healthy])
        self.low, self.high = float(residual.min()), float(residual.max())

    def make(self, threshold: float) -> Any:
        from river.drift import ADWIN

        return ADWIN(delta=float(np.exp(-threshold)), clock=1)

    def inputs(self, seen: Observed) -> list[float]:
        # Healthy residuals fill half of the interval: the other half is room for damaged ones.
        return [float(v) for v in np.clip((seen.nll - self.low) / (2 * (self.high - self.low)), 0.0, 1.0)]


class Outlier(Statistic):
    """pyod's robust Mahalanobis distance (MCD) of a frame's residual, its change, its squared error and its IoU.

    Its isolation forest and ECOD are bounded: no frame, however strange, scores higher than the rarest healthy ones
    of half an hour, so at an alarm an hour they would never alarm.
    """

    name = "mcd"

    def fit(self, healthy: Sequence[Observed]) -> None:
        from pyod.models.mcd import MCD

        rows = []
        for seen in healthy:
            self.restart()
            rows.append(self._features(seen)[::FIT_EVERY])
        self._model = MCD(random_state=0).fit(np.concatenate(rows))

    def restart(self) -> None:
        self._before: float | None = None

    def _features(self, seen: Observed) -> Float:
        first = seen.nll[0] if self._before is None else self._before
        self._before = float(seen.nll[-1])
        return np.stack([seen.nll, np.diff(seen.nll, prepend=first), seen.squared, seen.iou], axis=1)

    def of(self, seen: Observed) -> Float:
        return np.asarray(self._model.decision_function(self._features(seen)), dtype=np.float64)
