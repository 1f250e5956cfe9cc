"""What the verified detector is held against: rules on residuals at one rate of false alarms, and the two extremes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgekin.robot.catalogue import BODY
from edgekin.sim.episode import Frames
from edgekin.verification.libraries import Adwin, Outlier, PageHinkley
from edgekin.verification.observed import Observed, Observer
from edgekin.verification.rules import Cusum, RegionCusum, Residual, Rule, Statistic, threshold_of
from edgekin.verification.subject import Alarm, Subject


class Always:
    """Alarms at the first frame: what a delay is worth without a rate of false alarms."""

    name = "always"

    def start(self) -> None:
        pass

    def watch(self, frames: Frames) -> list[Alarm]:
        return [Alarm(frames.first, BODY)]


class Never:
    """Never alarms: what a rate of false alarms is worth without a delay."""

    name = "never"
    waited_for = False

    def start(self) -> None:
        pass

    def watch(self, frames: Frames) -> list[Alarm]:
        return []


class Baseline:
    """A rule as a subject; whatever it finds it calls body damage.

    Args:
        rule: fitted.
        observer: shared by all baselines.
        threshold: of the rule.
    """

    def __init__(self, rule: Rule, observer: Observer, threshold: float) -> None:
        self.name, self._rule, self._observer, self._threshold = rule.name, rule, observer, threshold
        if isinstance(rule, Statistic):
            self.statistic: list[float] = []

    def start(self) -> None:
        self._rule.start(self._threshold)

    def watch(self, frames: Frames) -> list[Alarm]:
        index = self._rule.first(self._observer.of(frames))
        if isinstance(self._rule, Statistic):
            self.statistic = self._rule.values.tolist()
        return [] if index is None else [Alarm(frames.first + index, BODY)]


def fitted_rules(healthy: Sequence[Observed], regions: bool) -> list[Rule]:
    """Return the rules, fitted to healthy streams.

    Args:
        healthy: streams.
        regions: whether the bundle's regions hold for them.
    """
    rules: list[Rule] = [Residual(), Cusum(), *([RegionCusum()] if regions else []), PageHinkley(), Adwin(), Outlier()]
    for rule in rules:
        rule.fit(healthy)
    return rules


def thresholds(rules: Sequence[Rule], healthy: Sequence[Observed], stream_hours: float,
               alarms_per_hour: float) -> dict[str, float]:
    """Return the threshold of every rule, by name, as `threshold_of` sets it."""
    return {rule.name: threshold_of(np.array([rule.peak(seen) for seen in healthy]), stream_hours, alarms_per_hour)
            for rule in rules}


def baselines_of(rules: Sequence[Rule], observer: Observer, at: Mapping[str, float]) -> list[Subject]:
    """Return the baselines at their thresholds, and the two extremes."""
    return [*(Baseline(rule, observer, at[rule.name]) for rule in rules), Always(), Never()]
