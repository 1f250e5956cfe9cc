"""Target mcu: the weight file, and standalone C99 of it for one core."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from edgekin.bundle import WEIGHTS, known_answers_bytes
from edgekin.compile.mcu.cores import core_of
from edgekin.compile.mcu.model import Model, open_model
from edgekin.compile.mcu.project import project
from edgekin.compile.mcu.reference import to_units
from edgekin.compile.native import NativeTarget, body_product
from edgekin.compile.product import Float, Logits, Product
from edgekin.compile.weights import write_weights
from edgekin.errors import ConfigError
from edgekin.models.body_graph import BodyGraph
from edgekin.models.field_graph import FieldGraph
from edgekin.models.graph import Graph
from edgekin.quantization.profile import Calibration
from edgekin.quantization.qgraph import forward_int8, quantize_graph

#: Poses that the reference in numpy predicts at once.
CHUNK = 64


def predict(model: Model, joint_pos: Float) -> Logits:
    """Return the logits (N, V, H, W) that the exported C gives for (N, J) joint angles in rad."""
    units = to_units(joint_pos)
    parts = [model.logits(model.predict(units[i : i + CHUNK])) for i in range(0, len(units), CHUNK)]
    return np.concatenate(parts) if parts else np.zeros((0, *model.shape), dtype=np.float32)


class McuTarget:
    """C99 for microcontrollers. What is measured is its integer arithmetic, to the bit, in numpy.

    Args:
        core: a name of edgekin.compile.mcu.cores.
        robot: the robot's name, for the files around the source.

    Raises:
        ConfigError: an unknown core.
    """

    name = "mcu"
    rival = ""

    def __init__(self, core: str, robot: str) -> None:
        self.core, self.robot = core_of(core), robot
        self.native = NativeTarget()

    def body(self, graph: BodyGraph, precision: str) -> Product:
        """Compile a body model; fp32 is only what int8 is held against."""
        native = body_product(graph, precision)
        return native if precision == "fp32" else self.product(native.files[WEIGHTS], native.known_answers)

    def field(self, graph: FieldGraph, precision: str) -> Product:
        """Raise ConfigError: a ray-marcher is no work for a microcontroller."""
        raise ConfigError(f"ffksm ({graph.count()[1]:,} MACs a picture) does not run on microcontrollers",
                          "Train neurokin or k3dgs")

    def fp32(self, graph: Graph) -> Product:
        """Compile what int8 is held against."""
        return self.native.fp32(graph)

    def fp16(self, graph: Graph) -> Product:
        """Raise ConfigError: there is no float in the exported C."""
        return self.native.fp16(graph)

    def int8(self, graph: Graph, calibration: Calibration) -> Product:
        """Compile at the calibrated scales; layers stay as they are, because merged ones would take more flash."""
        quantized = quantize_graph(graph, calibration.scales)
        return self.product(write_weights(quantized),
                            lambda q: known_answers_bytes(q, logits_int8=forward_int8(quantized, q)))

    def product(self, weights: bytes, known_answers: Callable[[Float], bytes]) -> Product:
        """Return weights, source and what is around it; the known answers are those of the weights."""
        model = open_model(weights)
        return Product("int8", {WEIGHTS: weights, **project(model, self.core, self.robot)}, WEIGHTS,
                       partial(predict, model), known_answers, None, {})
