"""Targets tensorrt and tensorrt-rtx: two ONNX flavours, and the plan that one of them becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from edgekin.bundle import DEPTH, ONNX, PLAN
from edgekin.compile.native import weights_of
from edgekin.compile.onnx_export import OnnxOptions, export_onnx, run_onnx
from edgekin.compile.onnx_target import answers, open_frame
from edgekin.compile.product import Frame, PlanPart, Product
from edgekin.compile.subpixel import convolutions
from edgekin.compile.tensorrt import device
from edgekin.compile.tensorrt.maker import Flavours, Made, PlanMaker, PlanOptions, plan_maker
from edgekin.compile.tensorrt.placement import violations
from edgekin.errors import ConfigError
from edgekin.models.body_graph import BodyGraph
from edgekin.models.field_graph import FieldGraph
from edgekin.models.graph import Graph
from edgekin.quantization.profile import Calibration

#: The plan's name in a bundle, without what the sidecar adds.
_STEM = PLAN.removesuffix(".plan")


def flavours(graph: Graph, precision: str, calibration: Calibration | None = None) -> Flavours:
    """Return a decoder as TensorRT's two ONNX flavours.

    Raises:
        ConfigError: Q/DQ stands where TensorRT would not compute in INT8.
    """
    if precision == "fp32":
        model = export_onnx(graph)
        return Flavours(model, model)
    if calibration is None:
        return Flavours(export_onnx(graph), export_onnx(graph, OnnxOptions(body="fp16", opset=19)))
    # In INT8 alone: of floats the convolutions would only be more to read.
    graph, scales = convolutions(graph), calibration.scales
    both = Flavours(export_onnx(graph, OnnxOptions(scales=scales)),
                    export_onnx(graph, OnnxOptions(scales=scales, body="fp16", opset=19)))
    for name, model in both.files().items():
        if found := violations(model):
            raise ConfigError(f"{name} breaks {len(found)} rules of Q/DQ placement, the first: {found[0]}")
    return both


class PlanTarget:
    """Plans of TensorRT, built on this machine's GPU, or of TensorRT-RTX, built ahead of time for any.

    Args:
        name: tensorrt or tensorrt-rtx.
        options: what to build.

    Raises:
        ConfigError, RuntimeFault: no plan can be built here; the hint says what can.
    """

    def __init__(self, name: str, options: PlanOptions) -> None:
        self.name, self.rival = name, "fp16" if options.plan else ""
        self.maker: PlanMaker | None = plan_maker(name, options) if options.plan else None

    def body(self, graph: BodyGraph, precision: str) -> Product:
        """Raise ConfigError: a plan is of layers, a body model is of ellipsoids."""
        raise ConfigError(f"a body model of {len(graph.links)} ellipsoids has no ONNX, so no {self.name} plan",
                          "Run: edgekin compile --target native, or --target cuda")

    def field(self, graph: FieldGraph, precision: str) -> Product:
        """Raise ConfigError: the ray-marcher evaluates its network too often for a control loop."""
        raise ConfigError(f"ffksm ({graph.count()[1]:,} MACs a picture) has no {self.name} plan",
                          "Run: edgekin compile --fp32 --target onnx")

    def fp32(self, graph: Graph) -> Product:
        """Compile without quantization."""
        return self._product(graph, "fp32")

    def fp16(self, graph: Graph) -> Product:
        """Compile with an FP16 body; inputs and outputs stay FP32."""
        return self._product(graph, "fp16")

    def int8(self, graph: Graph, calibration: Calibration) -> Product:
        """Compile with explicit Q/DQ at the calibrated scales and FP16 between."""
        return self._product(graph, "int8", calibration)

    def _product(self, graph: Graph, precision: str, calibration: Calibration | None = None) -> Product:
        both = flavours(graph, precision, calibration)
        if self.maker is None:
            product = self._assembled(graph, both.files(), precision, ONNX, both.weak, None)
        else:
            made = self.maker.make(both, precision)
            part, files, main = self._part(self.maker, made)
            product = self._assembled(graph, both.files() | files, precision, main, made.model, part)
        return replace(product, native=partial(weights_of, graph, calibration))

    @staticmethod
    def _part(maker: PlanMaker, made: Made) -> tuple[PlanPart, dict[str, bytes], str]:
        """The plan, what of it goes into the bundle, and its name there or in the folder beside it."""
        travels, plan = maker.api.ahead_of_time, made.plan
        stem = _STEM if travels else f"{plan.precision}-{plan.place.stem}"
        files, name = plan.files(stem), f"{stem}.plan"
        runs = partial(device.predict, maker.api, plan.content) if maker.runs_here else None
        return PlanPart(plan.sidecar(name), {} if travels else files, runs), files if travels else {}, name

    def _assembled(self, graph: Graph, files: dict[str, bytes], precision: str, main: str, model: bytes,
                   part: PlanPart | None) -> Product:
        plan = part.cache.get(main, files.get(main)) if part is not None else None
        frame: Callable[[], Frame] | None
        if part is None:
            frame = partial(open_frame, model)
        else:
            assert self.maker is not None and plan is not None  # noqa: PT018 - it made the part
            frame = partial(device.open_frame, self.maker.api, plan) if part.predict is not None else None
        beside = {name: partial(run_onnx, content) for name, content in files.items()
                  if name.endswith(".onnx") and content != model}
        depth = partial(run_onnx, model, output=DEPTH) if graph.depth else None
        return Product(precision, files, main, partial(run_onnx, model), partial(answers, model, precision), frame,
                       beside, depth, part)
