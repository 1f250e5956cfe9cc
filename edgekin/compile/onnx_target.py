"""Target onnx: model files for ONNX Runtime, TensorRT and others; no native weights."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgekin.bundle import DEPTH, INPUT, ONNX, OUTPUT, STRONG, known_answers_bytes
from edgekin.compile.field_onnx import export_field
from edgekin.compile.onnx_export import OnnxOptions, export_onnx, open_session, run_onnx
from edgekin.compile.product import Float, Frame, Product
from edgekin.errors import ConfigError
from edgekin.models.body_graph import BodyGraph
from edgekin.models.field_graph import FieldGraph
from edgekin.models.graph import Graph
from edgekin.quantization.profile import Calibration

#: Share of the largest logit by which another runtime may differ: summation order; 11 bits of mantissa; int8 steps.
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 5e-2}


def open_frame(model: bytes) -> Frame:
    """Return a function that runs one frame in ONNX Runtime on one CPU thread and scores it in numpy."""
    session = open_session(model)

    def frame(joints: Float, packed: NDArray[np.uint8]) -> None:
        logits = session.run([OUTPUT], {INPUT: joints.astype(np.float32)[None]})[0][0]
        observed = np.unpackbits(packed, axis=-1, count=logits.shape[-1]).astype(bool)
        np.sum(np.logaddexp(0.0, np.where(observed, -logits, logits)))

    return frame


def answers(model: bytes, precision: str, poses: Float) -> bytes:
    """Return the content of known_answers.npz: what ONNX Runtime gives, and how far another runtime may be off."""
    logits = run_onnx(model, poses)
    tolerance = TOLERANCE[precision] * max(1.0, float(np.abs(logits).max()))
    return known_answers_bytes(poses, logits=logits, tolerance=np.asarray(tolerance))


class OnnxTarget:
    """Files for other runtimes, checked here in ONNX Runtime."""

    name = "onnx"
    rival = ""

    def _product(self, graph: Graph | FieldGraph, precision: str, files: dict[str, bytes]) -> Product:
        model = files[ONNX]
        beside = {name: partial(run_onnx, other) for name, other in files.items() if name != ONNX}
        depth = partial(run_onnx, model, output=DEPTH) if isinstance(graph, Graph) and graph.depth else None
        return Product(precision, files, ONNX, partial(run_onnx, model), partial(answers, model, precision),
                       partial(open_frame, model), beside, depth)

    def body(self, graph: BodyGraph, precision: str) -> Product:
        """Raise ConfigError: ONNX has no operator that draws ellipsoids."""
        raise ConfigError(f"a body model of {len(graph.links)} ellipsoids has no ONNX at {precision}",
                          "Run: edgekin compile --target native")

    def field(self, graph: FieldGraph, precision: str) -> Product:
        """Compile the plain ray-marcher in FP32; raises ConfigError at other precisions."""
        if precision != "fp32":
            raise ConfigError(f"a free-form model has ONNX at fp32, got {precision}",
                              "Run: edgekin compile --fp32 --target onnx")
        return self._product(graph, "fp32", {ONNX: export_field(graph)})

    def fp32(self, graph: Graph) -> Product:
        """Compile without quantization."""
        return self._product(graph, "fp32", {ONNX: export_onnx(graph)})

    def fp16(self, graph: Graph) -> Product:
        """Compile with an FP16 body; inputs and outputs stay FP32."""
        return self._product(graph, "fp16", {ONNX: export_onnx(graph, OnnxOptions(body="fp16", opset=19))})

    def int8(self, graph: Graph, calibration: Calibration) -> Product:
        """Compile two Q/DQ files: FP32 around the int8 layers, and the strongly typed one with FP16 around them."""
        weak = export_onnx(graph, OnnxOptions(scales=calibration.scales))
        strong = export_onnx(graph, OnnxOptions(scales=calibration.scales, body="fp16", opset=19))
        return self._product(graph, "int8", {ONNX: weak, STRONG: strong})
