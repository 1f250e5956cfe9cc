"""A weight file as C for a core, and its reference in numpy: a decoder, or a body model."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu import decoder, reference
from edgekin.compile.mcu.cores import Core
from edgekin.compile.mcu.decoder import Exported
from edgekin.compile.mcu.reference import I32
from edgekin.compile.read_weights import read_weights
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
        self.table = reference.pixels(reference.score_units(graph.width, graph.out_scale), graph.out_scale)

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


def open_model(weights: bytes) -> Model:
    """Return what a weight file is exported as; raises BundleError where it is none of ours."""
    return DecoderModel(weights)
