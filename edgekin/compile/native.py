"""Target native: the flat weight file for the C engines, with the ONNX of the same graph beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgekin.bundle import ONNX, WEIGHTS, known_answers_bytes
from edgekin.compile.merge import merged
from edgekin.compile.onnx_export import OnnxOptions, export_onnx, run_onnx
from edgekin.compile.product import Float, Frame, Logits, Product
from edgekin.compile.weights import write_body, write_weights
from edgekin.errors import ConfigError
from edgekin.models.body_graph import BodyGraph
from edgekin.models.field_graph import FieldGraph
from edgekin.models.graph import Graph
from edgekin.models.reference import forward
from edgekin.quantization.profile import Calibration
from edgekin.quantization.qgraph import QuantGraph, forward_int8, quantize_graph


def weights_of(graph: Graph, calibration: Calibration | None = None) -> bytes:
    """Return the weight file of a decoder: FP32, or INT8 at the calibrated scales.

    Raises:
        ConfigError: the graph is beyond what the engines accept.
    """
    whole = merged(graph)
    return write_weights(whole if calibration is None else quantize_graph(whole, calibration.scales))


def predict(blob: bytes, joint_pos: Float) -> Logits:
    """Return the logits (N, V, H, W) that the native engine gives for (N, J) joint angles in rad."""
    from edgekin.runtime.engine import Engine

    with Engine.open(blob) as engine:
        return engine.predict(joint_pos)


def predict_depth(blob: bytes, joint_pos: Float) -> Logits:
    """Return the depth (N, V, H, W) m that the native engine gives for (N, J) joint angles in rad."""
    from edgekin.runtime.engine import Engine

    with Engine.open(blob) as engine:
        return engine.predict_depth(joint_pos)


def predict_int8(quantized: QuantGraph, joint_pos: Float) -> Logits:
    """Evaluate an integer graph on the engine: the same bits as the numpy reference, a thousand times faster."""
    return predict(write_weights(quantized), joint_pos)


def open_frame(blob: bytes) -> Frame:
    """Return a function that runs and scores one frame on the native engine."""
    from edgekin.runtime.engine import Engine

    engine = Engine.open(blob)

    def frame(joints: Float, packed: NDArray[np.uint8]) -> None:
        engine.run(joints)
        engine.score(packed)

    return frame


#: Of a logit, between instruction sets: near 13.9, the largest, one step of float32 in the light is 0.06.
BODY_TOLERANCE = 0.1


def body_product(graph: BodyGraph, encoding: str) -> Product:
    """Compile a body model: one file, FP32 arithmetic, parameters as fp32 or int8; no ONNX, which cannot draw it."""
    blob = write_body(graph, encoding)

    def answers(poses: Float) -> bytes:
        return known_answers_bytes(poses, logits=predict(blob, poses), tolerance=np.asarray(BODY_TOLERANCE))

    return Product(encoding, {WEIGHTS: blob}, WEIGHTS, partial(predict, blob), answers, partial(open_frame, blob), {})


def _depth(graph: Graph, blob: bytes) -> Callable[[Float], Logits] | None:
    return partial(predict_depth, blob) if graph.depth else None


class NativeTarget:
    """The C engines of engines/native."""

    name = "native"
    rival = "fp32"

    def body(self, graph: BodyGraph, precision: str) -> Product:
        """Compile a body model; precision int8 is that of its parameters."""
        return body_product(graph, precision)

    def field(self, graph: FieldGraph, precision: str) -> Product:
        """Raise ConfigError: half a million evaluations of a network a picture are no work for a control loop."""
        raise ConfigError(f"ffksm ({graph.count()[1]:,} MACs a picture) has no native engine at {precision}",
                          "Run: edgekin compile --fp32 --target onnx; for the native engine train k3dgs or neurokin")

    def fp32(self, graph: Graph) -> Product:
        """Compile without quantization."""
        def answers(poses: Float) -> bytes:
            logits = forward(graph, poses)
            # The engine sums in another order: 1e-4 of the largest logit is a hundred times what that costs.
            tolerance = np.float64(1e-4 * max(1.0, float(np.abs(logits).max())))
            return known_answers_bytes(poses, logits=logits, tolerance=np.asarray(tolerance))

        blob, onnx = weights_of(graph), export_onnx(graph)
        return Product("fp32", {WEIGHTS: blob, ONNX: onnx}, WEIGHTS, partial(predict, blob), answers,
                       partial(open_frame, blob), {ONNX: partial(run_onnx, onnx)}, _depth(graph, blob))

    def fp16(self, graph: Graph) -> Product:
        """Raise ConfigError: CPUs without FP16 arithmetic would only convert back."""
        raise ConfigError("target native has fp32 and int8, got fp16",
                          "Run: edgekin compile --fp16 --target onnx, or edgekin compile --int8")

    def int8(self, graph: Graph, calibration: Calibration) -> Product:
        """Compile with symmetric int8 at the calibrated scales."""
        quantized = quantize_graph(merged(graph), calibration.scales)
        blob, onnx = write_weights(quantized), export_onnx(graph, OnnxOptions(scales=calibration.scales))
        return Product("int8", {WEIGHTS: blob, ONNX: onnx}, WEIGHTS, partial(predict, blob),
                       lambda q: known_answers_bytes(q, logits_int8=forward_int8(quantized, q)),
                       partial(open_frame, blob), {ONNX: partial(run_onnx, onnx)}, _depth(graph, blob))
