"""Target cuda: the weight file of the native engines, and the kernels of engines/cuda that run it on a GPU.

The kernels walk any network, so they are compiled without knowing it: a bundle carries a cubin for each GPU asked for,
and the source, of which a device with a compiler makes its own. Layers are not merged as for a CPU: that saves
multiplications and reads more weights, and at batch 1 a GPU waits for weights.
"""

from __future__ import annotations

import json
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.bundle import KERNELS, KERNELS_SOURCE, WEIGHTS, known_answers_bytes
from edgekin.compile.half import maps_fp16
from edgekin.compile.native import BODY_TOLERANCE, predict, predict_depth
from edgekin.compile.product import Float, Frame, Logits, Product
from edgekin.compile.tensorrt.maker import PlanOptions
from edgekin.compile.weights import write_body, write_weights
from edgekin.errors import ConfigError, EdgekinError
from edgekin.models.body_graph import BodyGraph
from edgekin.models.field_graph import FieldGraph
from edgekin.models.graph import Graph
from edgekin.models.reference import forward
from edgekin.quantization.profile import Calibration
from edgekin.quantization.qgraph import forward_int8, quantize_graph
from edgekin.runtime.cuda import CudaEngine, probe
from edgekin.runtime.cuda_kernels import FLAGS, SMS, cached_cubin, nvcc_version, source, source_sha256

SCHEMA = "edgekin.kernels/1"
#: Share of the largest logit by which an engine may differ: another order of sums; eleven bits of maps and weights.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}


class CudaTarget:
    """Our own kernels, from joint angles to scores in one launch.

    Args:
        options: of which `sms` says for which GPUs to compile, and `plan=False` leaves that to the device.
    """

    name = "cuda"
    rival = "fp16"

    def __init__(self, options: PlanOptions) -> None:
        if options.builds != 1:
            raise ConfigError(f"--builds is {options.builds}: kernels of target cuda are compiled, not chosen by time")
        self.options = options

    @cached_property
    def kernels(self) -> dict[str, bytes]:
        """The bundle's files besides the weights and what depends on the precision; compiled once."""
        asked = (self.options.sms or SMS) if self.options.plan and nvcc_version() else ()
        return {f"kernels.sm_{sm}.cubin": cached_cubin(sm).cubin for sm in asked} | {KERNELS_SOURCE: source().encode()}

    @cached_property
    def sm_here(self) -> int | None:
        """The GPU of this machine, or None."""
        try:
            return probe().sm
        except EdgekinError:
            return None

    def body(self, graph: BodyGraph, precision: str) -> Product:
        """Compile a body model: its parameters as fp32 or int8, its arithmetic in FP32."""
        if precision == "fp16":
            raise ConfigError(f"a body model of {len(graph.links)} ellipsoids has parameters as fp32 or int8, got fp16",
                              "Run: edgekin compile --int8 --target cuda")
        blob = write_body(graph, precision)

        def answers(poses: Float) -> bytes:
            return known_answers_bytes(poses, logits=predict(blob, poses), tolerance=np.asarray(BODY_TOLERANCE))

        return self._product(precision, "fp32", blob, partial(predict, blob), answers)

    def field(self, graph: FieldGraph, precision: str) -> Product:
        """Raise ConfigError: half a million evaluations of a network a picture are no work for a control loop."""
        raise ConfigError(f"ffksm ({graph.count()[1]:,} MACs a picture) has no CUDA kernels at {precision}",
                          "Run: edgekin compile --fp32 --target onnx; for a GPU train k3dgs or neurokin")

    def fp32(self, graph: Graph) -> Product:
        """Compile without quantization."""
        blob = write_weights(graph)
        return self._product("fp32", "fp32", blob, partial(predict, blob), _answers(partial(forward, graph), "fp32"),
                             partial(predict_depth, blob) if graph.depth else None)

    def fp16(self, graph: Graph) -> Product:
        """Compile for half precision: the FP32 weights, which the engine rounds when it opens them."""
        def pictures(joint_pos: Float) -> Logits:
            return maps_fp16(graph, joint_pos)[:, : graph.n_views]

        def depth(joint_pos: Float) -> Logits:
            assert graph.depth is not None
            return np.float32(graph.depth.offset_m) + np.float32(graph.depth.unit_m) * maps_fp16(
                graph, joint_pos)[:, graph.n_views :]

        return self._product("fp16", "fp16", write_weights(graph), pictures, _answers(pictures, "fp16"),
                             depth if graph.depth else None)

    def int8(self, graph: Graph, calibration: Calibration) -> Product:
        """Compile with symmetric int8 at the calibrated scales: the integers of the native engines."""
        quantized = quantize_graph(graph, calibration.scales)
        blob = write_weights(quantized)
        return self._product("int8", "int8", blob, partial(predict, blob),
                             lambda q: known_answers_bytes(q, logits_int8=forward_int8(quantized, q)),
                             partial(predict_depth, blob) if graph.depth else None)

    def _product(self, precision: str, arithmetic: str, blob: bytes, pictures: Any, answers: Any,
                 depth: Any = None) -> Product:
        manifest = {"schema": SCHEMA, "arithmetic": arithmetic, "source_sha256": source_sha256(), "flags": list(FLAGS),
                    "nvcc": nvcc_version(), "cubins": sorted(name for name in self.kernels if name.endswith(".cubin"))}
        files = {WEIGHTS: blob, **self.kernels, KERNELS: (json.dumps(manifest, indent=2) + "\n").encode()}
        sm = self.sm_here
        frame = None if sm is None else partial(open_frame, blob, arithmetic, sm)
        return Product(precision, files, WEIGHTS, pictures, answers, frame, {}, depth)


def _answers(pictures: Any, precision: str) -> Any:
    def answers(poses: Float) -> bytes:
        logits = pictures(poses)
        tolerance = TOLERANCE[precision] * max(1.0, float(np.abs(logits).max()))
        return known_answers_bytes(poses, logits=logits, tolerance=np.asarray(tolerance))

    return answers


def open_frame(blob: bytes, arithmetic: str, sm: int) -> Frame:
    """Return a function that runs and scores one frame on this machine's GPU."""
    engine = CudaEngine(blob, cached_cubin(sm).cubin, arithmetic)

    def frame(joints: Float, packed: NDArray[np.uint8]) -> None:
        engine.run(joints)
        engine.score(packed)

    return frame
