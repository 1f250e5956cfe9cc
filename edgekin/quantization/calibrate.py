"""Calibration: run the float graph over the chosen poses, and choose a scale for every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError, DataError
from edgekin.models.graph import Graph
from edgekin.models.reference import count, forward
from edgekin.quantization.affine import scale_for
from edgekin.quantization.observers import METHODS, MagnitudeHistogram
from edgekin.quantization.profile import (
    AUTO,
    MIN_SAMPLES,
    Calibration,
    CalibrationProfile,
    LayerRange,
    samples_sha256,
)
from edgekin.quantization.samples import chunks
from edgekin.sim.excitation import sobol

if TYPE_CHECKING:
    from edgekin.quantization.qgraph import QuantGraph

Float = NDArray[np.float64]

#: Layers whose output is requantized, and the raw-angle input; everything else passes its scale through.
SCALED_KINDS = ("joints", "linear", "conv", "convt")

#: Of Sobol points, so that they are not those of a training or test split of the same seed.
SEED_OFFSET = 3_000_017

#: A change of one layer's method must win this much to be kept: less is noise of the poses at hand.
_WORTH_DB = 0.01

#: Step of the search for a lower threshold.
_LOWER = 0.85

#: Poses, of those observed, on which thresholds are compared: each of some fifty trials evaluates the network on them.
#: A large network is given fewer, so that a trial costs at most so many multiply-accumulates, but never fewer than 32.
_COMPARED, _COMPARED_MACS = 256, 6e9
_AT_MOST_EVERY = 4


def resolved(profile: CalibrationProfile, excitation: object) -> CalibrationProfile:
    """Return the profile with poses that are train or sobol, given what moved the arm for the training split.

    Where that was Sobol points, others fill the limits as evenly, and there may be more of them than were rendered.
    """
    if profile.poses != "auto":
        return profile
    return replace(profile, poses="sobol" if excitation == "sobol" else "train")


def select_poses(profile: CalibrationProfile, available: Float, limits: Float, seed: int, source: str) -> Float:
    """Return the joint angles to calibrate on.

    Args:
        profile: which and how many; resolved.
        available: (N, J) rad, the run's training split.
        limits: (J, 2) rad, for the Sobol points.
        seed: of the draw.
        source: the training split's file, for the message.

    Returns:
        (n, J) rad with MIN_SAMPLES <= n <= profile.samples; fewer than asked only where the split is smaller. In random
        order, so that every k-th of them is a sample, too: of a Sobol sequence it is a corner of the joint space.

    Raises:
        DataError: the training split has fewer than MIN_SAMPLES poses.
    """
    rng = np.random.default_rng(seed)
    if profile.poses == "sobol":
        return rng.permutation(sobol(profile.samples, limits, seed + SEED_OFFSET))
    if len(available) < MIN_SAMPLES:
        raise DataError(f"calibration set is too small: {source} holds {len(available)} poses, need >= {MIN_SAMPLES}",
                        "Train on more samples, or use a calibration profile with poses: sobol")
    size = min(profile.samples, len(available))
    poses: Float = np.asarray(available[rng.choice(len(available), size=size, replace=False)], np.float64)
    return poses


def observe(graph: Graph, joint_pos: Float) -> dict[str, MagnitudeHistogram]:
    """Return the histogram of every scaled layer's output magnitudes over (N, J) joint angles in rad."""
    histograms = {layer.name: MagnitudeHistogram() for layer in graph.layers if layer.kind in SCALED_KINDS}
    for steps in chunks(graph, joint_pos):
        for layer, _, output in steps:
            if layer.name in histograms:
                histograms[layer.name].update(output)
    return histograms


def split(graph: Graph, joint_pos: Float) -> tuple[Float, Float]:
    """Return the poses (N, J) rad to fit to, ranges and weights, and the poses (M, J) to compare what was fitted on."""
    wanted = int(np.clip(_COMPARED_MACS / max(count(graph)[1], 1), MIN_SAMPLES, _COMPARED))
    every = slice(None, None, max(_AT_MOST_EVERY, -(-len(joint_pos) // wanted)))
    return np.delete(joint_pos, every, axis=0), joint_pos[every]


def fidelity_db(expected_logits: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """Return -10 log10 of the mean squared difference of the probabilities: how well one network repeats another."""
    difference = sigmoid(expected_logits) - sigmoid(logits)
    return float(-10.0 * np.log10(np.mean(np.square(difference, dtype=np.float64)) + 1e-12))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of natural-log odds, in float32, without overflow."""
    clipped = np.clip(np.asarray(logits, np.float32), -60.0, 60.0)
    probability: NDArray[np.float32] = np.asarray(1.0 / (1.0 + np.exp(-clipped)), np.float32)
    return probability


#: Predicts float logits (N, V, H, W) of an integer graph for joint angles (N, J).
Predict = Callable[["QuantGraph", Float], NDArray[np.float32]]


def reference_predict(quantized: QuantGraph, joint_pos: Float) -> NDArray[np.float32]:
    """Predict with the integer reference in numpy; an engine does the same, bit for bit and faster."""
    from edgekin.quantization.qgraph import dequantize, forward_int8

    return dequantize(forward_int8(quantized, joint_pos), quantized.out_scale)


@dataclass(frozen=True)
class CalibrationSource:
    """Where the poses come from, for the record."""

    profile: CalibrationProfile
    seed: int
    source: str  # the training split's file, or what generated the poses


class Calibrator:
    """Observes a graph once, then offers a calibration by any method.

    Args:
        graph: the float decoder.
        joint_pos: (N, J) rad, the calibration poses.
        source: their provenance.
        predict: how to evaluate an integer graph; the numpy reference by default.
        like: what to be faithful to, where the graph itself is an approximation already.
    """

    def __init__(self, graph: Graph, joint_pos: Float, source: CalibrationSource,
                 predict: Predict = reference_predict, like: Graph | None = None) -> None:
        self.graph, self.joint_pos, self.source, self.predict = graph, joint_pos, source, predict
        others, self.compared = split(graph, joint_pos)
        self.histograms = observe(graph, others)
        self.expected = forward(like or graph, self.compared)

    def threshold(self, name: str, method: str) -> tuple[str, float]:
        """Return (method, threshold) of one layer by one observer."""
        return method, METHODS[method](self.histograms[name], self.source.profile.percentile)

    def calibration(self, thresholds: Mapping[str, tuple[str, float]], asked: str) -> Calibration:
        """Return the calibration that clips each layer at the threshold given for it, with the method it came from."""
        kinds = {layer.name: layer.kind for layer in self.graph.layers}
        layers = {name: LayerRange(kinds[name], method, self.histograms[name].max_abs, threshold,
                                   float(scale_for(threshold)))
                  for name, (method, threshold) in thresholds.items()}
        profile = self.source.profile
        return Calibration(layers, asked, profile.percentile, profile.poses, len(self.joint_pos),
                           samples_sha256(self.joint_pos), self.source.seed, profile.source, self.source.source)

    def single(self, method: str) -> Calibration:
        """Return the calibration that uses one method for every layer."""
        return self.calibration({name: self.threshold(name, method) for name in self.histograms}, method)

    def fidelity(self, calibration: Calibration) -> float:
        """Return how well the integer graph repeats the float one on the calibration poses, dB; -inf: not at all."""
        from edgekin.quantization.qgraph import quantize_graph

        try:
            quantized = quantize_graph(self.graph, calibration.scales)
        except ConfigError:  # a scale so small that the integers would overflow
            return float("-inf")
        return fidelity_db(self.expected, self.predict(quantized, self.compared))

    def ranked(self) -> list[str]:
        """Return the single methods, the most faithful on the calibration poses first."""
        scores = {method: self.fidelity(self.single(method)) for method in METHODS}
        return sorted(scores, key=lambda method: -scores[method])

    def auto(self, progress: Callable[[float], None] = lambda share: None) -> Calibration:
        """Return the best single method, improved layer by layer by what makes the whole network most faithful.

        An observer sees one layer alone. Its large values often end in probabilities of 0 or 1, where clipping them
        costs nothing and a finer step elsewhere gains: so each layer tries every observer's threshold, and then ever
        lower ones as long as that helps. It looks at the calibration poses alone; the test split stays unseen.

        Args:
            progress: called after each layer with the share that is done.
        """
        first = self.ranked()[0]
        chosen = {name: self.threshold(name, first) for name in self.histograms}
        best = self.fidelity(self.calibration(chosen, AUTO))

        def better(name: str, candidate: tuple[str, float]) -> bool:
            nonlocal chosen, best
            trial = {**chosen, name: candidate}
            score = self.fidelity(self.calibration(trial, AUTO))
            if score <= best + _WORTH_DB:
                return False
            chosen, best = trial, score
            return True

        for number, name in enumerate(reversed(list(self.histograms))):
            for method in METHODS:
                if self.threshold(name, method) != chosen[name]:
                    better(name, self.threshold(name, method))
            while better(name, ("search", chosen[name][1] * _LOWER)):
                pass
            progress((number + 1) / len(self.histograms))
        return self.calibration(chosen, AUTO)

    def by_method(self, method: str, progress: Callable[[float], None] = lambda share: None) -> Calibration:
        """Return the calibration of a method of the profile, `auto` included."""
        return self.auto(progress) if method == AUTO else self.single(method)


def with_overrides(profile: CalibrationProfile, method: str | None, samples: int | None) -> CalibrationProfile:
    """Return the profile with the command line's values in place of its own, validated."""
    changed = replace(profile, method=method or profile.method,
                      samples=profile.samples if samples is None else samples)
    return changed.validated()
