"""A weight file as C for a core, and its reference in numpy: a decoder, or a body model."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu import body_export, body_reference, decoder, reference
from edgekin.compile.mcu.body import fixed
from edgekin.compile.mcu.body_file import read_body
from edgekin.compile.mcu.cores import Core
from edgekin.compile.mcu.decoder import Exported
from edgekin.compile.mcu.reference import I32
from edgekin.compile.read_weights import read_blocks, read_weights
from edgekin.quantization.qgraph import dequantize


class Model(Protocol):
    """What a weight file is exported as."""

    summary: str
    shape: tuple[int, int, int]  # views, height, width

    def export(self, core: Core) -> Exported:
        """Return the C; raises ConfigError where the kernels do not take it."""

    def predict(self, units: I32) -> NDArray[np.int8]:
        """Return the integer logits (N, V, H, W) at (N, J) joint angles in 2^-28 of a turn."""

    def score(self, units: I32, packed: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """Return the scores (N, 5) of packed masks (N, V, H, ceil(W / 8)), in the order of edgekin_score_t."""

    def logits(self, predicted: NDArray[np.int8]) -> NDArray[np.float32]:
        """Return log-odds of integer logits."""


class DecoderModel:
    """An integer decoder.

    Args:
        weights: its weight file.

    Raises:
        BundleError: it is damaged, or not in int8.
    """

    def __init__(self, weights: bytes) -> None:
        self.graph = graph = read_weights(weights)
        self.shape = (graph.n_views, graph.height, graph.width)
        parameters = sum(q.weight.size for q in graph.layers if q.weight is not None)
        self.summary = f"A decoder of {len(graph.layers)} layers and {parameters:,} int8 weights."
        odds = decoder.log_odds(graph)
        self.table = reference.pixels(reference.score_units(graph.width, float(odds.max())), odds)

    def export(self, core: Core) -> Exported:
        """Return the C; raises ConfigError where the kernels do not take a layer."""
        return decoder.export(self.graph, core.layout)

    def predict(self, units: I32) -> NDArray[np.int8]:
        """Return the integer logits."""
        return reference.predict(self.graph, units)

    def score(self, units: I32, packed: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """Return the scores."""
        return reference.score(self.predict(units), packed, self.table)

    def logits(self, predicted: NDArray[np.int8]) -> NDArray[np.float32]:
        """Return log-odds."""
        return dequantize(predicted, self.graph.out_scale)


class BodyModel:
    """Soft ellipsoids on a kinematic chain.

    Args:
        block: of the layer `ellipsoids` of its weight file.
        n_q: joint angles.

    Raises:
        ConfigError: lengths that do not fit.
    """

    def __init__(self, block: bytes, n_q: int) -> None:
        self.body = body = fixed(read_body(block, n_q))
        self.shape = (len(body.views), body.height, body.width)
        self.summary = (f"A body model of {len(body.centre)} ellipsoids on {len(body.hinges)} moving joints, in fixed "
                        "point.")
        self.odds = body_reference.log_odds(body.empty)
        self.units = reference.score_units(body.width, float(self.odds.max()))
        self.table = reference.pixels(self.units, self.odds)

    def export(self, core: Core) -> Exported:
        """Return the C, which is the same for every core."""
        return body_export.export(self.body, self.units, self.table)

    def predict(self, units: I32) -> NDArray[np.int8]:
        """Return the pictures."""
        return body_reference.predict(self.body, units)

    def score(self, units: I32, packed: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """Return the scores."""
        return reference.score(self.predict(units), packed, self.table)

    def logits(self, predicted: NDArray[np.int8]) -> NDArray[np.float32]:
        """Return log-odds."""
        return np.asarray(self.odds[predicted.view(np.uint8)], dtype=np.float32)


def open_model(weights: bytes) -> Model:
    """Return what a weight file is exported as; raises BundleError where it is none of ours."""
    (kind, record), *_ = read_blocks(weights)
    if kind != "ellipsoids":
        return DecoderModel(weights)
    return BodyModel(weights[record[16] : record[16] + record[17]], record[2])
