"""Whether motion that is said to be healthy is: an inspector that learns a bent arm by heart will never tell of it.

What is fitted to the data hides what is wrong with them. So everything here is held against limits in degrees, against
the error that the model had in its own test, and stretch by stretch against the median of all stretches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.detection.evidence import whiten
from edgekin.detection.looks import Looks
from edgekin.errors import DataError
from edgekin.robot.spec import RobotSpec
from edgekin.runtime.inspector_config import BODY, CAMERA_TURN, STRETCH, TURN, Hypothesis, InspectorConfig

Float = NDArray[np.float64]

#: A joint has moved where its angles, without the outermost hundredths, span so much: encoders are noisy. Rad, m.
MOVED, MOVED_M = np.radians(2.0), 0.01
OUTER = 0.01
#: What a body model is off by on average is less than this (measured: 0.7 degrees, 3%, 0.05 degrees of a camera), rad
#: or share; or one picture says less about it than so many nats (measured: 0.07; of a link bent by two degrees, 2).
OFF = {TURN: np.radians(1.5), STRETCH: 0.05, CAMERA_TURN: np.radians(0.3)}
CLEAR = 0.5
#: Spread at which pictures are added up, in units of the first one: no picture counts for many.
EVEN = 10.0
#: Squared error of healthy pictures, in units of the test's with what noise of the outline adds, at most; of one
#: stretch in units of the median stretch.
WORSE, WORSE_THAN_OTHERS = 3.0, 2.0
#: Pixels for each of a picture's sides that noise flips (measured: 0.02).
NOISE_PX = 0.03
#: Evidence, and the sum of what is unexplained, that no healthy stretch reaches (measured: 45 and 2; with a link bent
#: by two degrees: 500 and more), and in units of the median stretch: a poor model's may be higher in all.
PLAUSIBLE, PLAUSIBLE_TIMES = 200.0, 10.0
REMEDY = "Leave those frames out, and find out what happened to the arm"


@dataclass(frozen=True)
class Peak:
    """The highest that one stretch reached."""

    evidence: float  # nats
    several: float  # the same without what one picture by itself says
    unexplained: float
    alarm: str  # what was raised in spite of thresholds beyond reach: "lost of L4"; "" where nothing was
    place: str  # "frames 0 to 1799"


def listed(numbers: Sequence[int], places: Sequence[str]) -> str:
    """Return some of the stretches by name: `stretches 3, 7 of 20 (frames 3600 to 5399; ...)`."""
    shown = [f"{places[i]}" for i in numbers[:3]] + (["..."] if len(numbers) > 3 else [])
    counts = ", ".join(str(i + 1) for i in numbers[:10]) + (", ..." if len(numbers) > 10 else "")
    return f"stretch{'es' if len(numbers) > 1 else ''} {counts} of {len(places)} ({'; '.join(shown)})"


def check_motion(robot: RobotSpec, joint_pos: Float) -> None:
    """Check that every joint has moved.

    Args:
        robot: the robot.
        joint_pos: (N, J) rad or m.

    Raises:
        DataError: names those that have not.
    """
    low, high = np.quantile(joint_pos, [OUTER, 1 - OUTER], axis=0)
    still = []
    for joint, span in zip(robot.actuated, high - low, strict=True):
        if joint.kind == "prismatic" and span < MOVED_M:
            still.append(f"{joint.name} ({1e3 * span:.1f} mm, expected {1e3 * MOVED_M:g})")
        elif joint.kind != "prismatic" and span < MOVED:
            still.append(f"{joint.name} ({np.degrees(span):.1f} degrees, expected {np.degrees(MOVED):g})")
    if still:
        raise DataError(f"joints that hardly move in the healthy frames cannot be calibrated: {', '.join(still)}",
                        "Record a motion of every joint through its range")


@dataclass(frozen=True)
class _Sum:
    """What the pictures of a stretch say together, as inspectors see it without knowing the model's own error."""

    information: Float  # (n, n)
    score: Float  # (n,)
    count: int

    @classmethod
    def of(cls, config: InspectorConfig, information: NDArray[np.float32], score: Float) -> _Sum:
        a, b = whiten(information.astype(np.float64), score, EVEN * config.bias,
                      config.noise_bias + config.noise_frame)
        return cls(a.sum(axis=0), b.sum(axis=0), len(score))

    @classmethod
    def joined(cls, parts: Sequence[_Sum]) -> _Sum:
        return cls(np.sum([one.information for one in parts], axis=0), np.sum([one.score for one in parts], axis=0),
                   sum(one.count for one in parts))

    def deviations(self, config: InspectorConfig) -> Float:
        """All of them together (n,)."""
        return np.asarray(np.linalg.solve(self.information + np.diag(1 / np.square(config.prior)), self.score))

    def clear(self, config: InspectorConfig, but: Float | None = None) -> str:
        """Say what explains the pictures best, on top of some deviations (n,); empty where it is small or unclear."""
        score = self.score if but is None else self.score - self.information @ but
        most, said = CLEAR * self.count, ""
        for hypothesis in config.hypotheses:
            free = list(hypothesis.deviations)
            part = self.information[np.ix_(free, free)] + np.diag(1 / np.square(config.prior[free]))
            sizes = np.asarray(np.linalg.solve(part, score[free]))
            nats = 0.5 * float(score[free] @ sizes)
            if nats > most:
                most, said = nats, _said(config, hypothesis, sizes)
        return said


def _said(config: InspectorConfig, hypothesis: Hypothesis, sizes: Float) -> str:
    """A deviation in words; empty where a model may be off by as much."""
    limit, size = OFF[config.deviations[hypothesis.deviations[0]].kind], float(np.linalg.norm(sizes))
    if size <= limit:
        return ""
    part = f"{'link ' if hypothesis.kind == BODY else ''}{hypothesis.part}"
    if hypothesis.what == "short":
        return f"{part} {'longer' if sizes[0] > 0 else 'shorter'} by {100 * size:.1f}% (limit {100 * limit:g})"
    return f"{part} turned by {np.degrees(size):.1f} degrees (limit {np.degrees(limit):g})"


def check_body(config: InspectorConfig, looks: Looks) -> None:
    """Check that the pictures are of the body that the model knows, all the time.

    Args:
        config: as `first_config` gives it.
        looks: at the healthy pictures.

    Raises:
        DataError: says what is turned or stretched, and in which stretches where it is not all of them.
    """
    of = looks.stretch[looks.kept]
    sums = [_Sum.of(config, looks.information[of == i], looks.score[of == i]) for i in range(len(looks.places))]
    typical = np.median([one.deviations(config) for one in sums], axis=0)
    unlike = {i: what for i, one in enumerate(sums) if (what := one.clear(config, typical))}
    # Where most are unlike the median, nothing is usual: then all of them are judged.
    usual = _Sum.joined([one for i, one in enumerate(sums) if i not in unlike or 2 * len(unlike) > len(sums)])
    said = usual.clear(config)
    if said:
        raise DataError(f"the frames are not of the body that the model knows: {said}",
                        "Use frames of the healthy arm, or train its model longer")
    if unlike:
        raise DataError(f"{listed(list(unlike), looks.places)} unlike the others: {next(iter(unlike.values()))}",
                        REMEDY)


def check_misfit(looks: Looks, test_error: float, sides_px: float) -> None:
    """Check that the model makes the pictures as well as those of its own test.

    Args:
        looks: at the healthy pictures.
        test_error: squared error of a test picture, summed over pixels; 0: not known.
        sides_px: of all cameras' pictures, square roots of their pixels, summed.

    Raises:
        DataError: it does not; names the stretches where it is not all of them.
    """
    mean = np.bincount(looks.stretch, looks.fitted, len(looks.places)) / np.bincount(looks.stretch)
    typical, limit = float(np.median(mean)), WORSE * (test_error + NOISE_PX * sides_px)
    if test_error > 0 and typical > limit:
        raise DataError(f"the model does not make these pictures: their squared error is {typical:.1f} pixels in the "
                        f"median stretch, at most {limit:.1f} after {test_error:.1f} in its test",
                        "Use frames of the same camera, without anything before it, or train on frames like these")
    bad = np.flatnonzero(mean > WORSE_THAN_OTHERS * typical + NOISE_PX * sides_px)
    if len(bad):
        raise DataError(f"{listed(bad.tolist(), looks.places)} unlike the others: a squared error of "
                        f"{mean[bad].max():.1f} pixels against {typical:.1f}", REMEDY)


def check_peaks(peaks: Sequence[Peak]) -> None:
    """Check that no stretch goes far beyond the others.

    Raises:
        DataError: names those that do.
    """
    values = np.array([(peak.evidence, peak.unexplained) for peak in peaks])
    limit = np.maximum(PLAUSIBLE, PLAUSIBLE_TIMES * np.median(values, axis=0))
    bad = np.flatnonzero((values > limit).any(axis=1))
    if len(bad):
        over = int(np.argmax((values / limit).max(axis=0)))
        unit = ("nats of evidence that the body deviates", "of what no deviation explains")[over]
        raise DataError(f"{listed(bad.tolist(), [peak.place for peak in peaks])} unlike the others: "
                        f"{values[:, over].max():.0f} {unit}, {np.median(values[:, over]):.1f} in the median", REMEDY)
