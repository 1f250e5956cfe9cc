"""Which form of a network to quantize: one with the same function whose weights and activations int8 suits best."""

from __future__ import annotations

from collections.abc import Iterator

from edgekin.models.graph import Graph
from edgekin.quantization.calibrate import CalibrationSource, Calibrator, Float, Predict, split
from edgekin.quantization.equalize import equalized
from edgekin.quantization.rounding import rounded
from edgekin.quantization.spare import shared


def prepared(graph: Graph, joint_pos: Float, source: CalibrationSource, predict: Predict) -> Calibrator:
    """Return the calibrator of the graph's most faithful form.

    Weights are rounded one by one, or together, or together after ranges were made alike and silent units put to use;
    which of these, the poses tell that no weights were rounded for.

    Args:
        graph: the float decoder.
        joint_pos: (N, J) rad, the calibration poses.
        source: their provenance.
        predict: how to evaluate an integer graph.
    """
    each = [Calibrator(form, joint_pos, source, predict, like=graph) for form in _forms(graph, joint_pos)]
    return max(each, key=lambda calibrator: calibrator.fidelity(calibrator.single("percentile")))


def _forms(graph: Graph, joint_pos: Float) -> Iterator[Graph]:
    fitted, _ = split(graph, joint_pos)
    yield rounded(shared(equalized(graph, fitted), fitted), fitted)
    yield rounded(graph, fitted)
    yield graph
