"""What a target makes of a graph: the files of the bundle, and a way to run them here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekin.models.body_graph import BodyGraph
from edgekin.models.field_graph import FieldGraph
from edgekin.models.graph import Graph
from edgekin.quantization.profile import Calibration

Float = NDArray[np.float64]
Logits = NDArray[np.float32]

#: One frame: joint angles (J,) rad and the observed mask (V, H, ceil(W / 8)) packed; scored, result dropped.
Frame = Callable[[Float, NDArray[np.uint8]], None]


@dataclass(frozen=True)
class PlanPart:
    """What a product has of a plan for a GPU."""

    sidecar: Mapping[str, Any]  # docs/formats.md, "Plan"
    cache: Mapping[str, bytes]  # files for the folder beside the bundle: they are this machine's alone
    predict: Callable[[Float], Logits] | None  # the plan on the GPU that is here, where it runs on it


@dataclass(frozen=True)
class Product:
    """A decoder compiled for a target at a precision."""

    precision: str  # fp32 | fp16 | int8
    files: dict[str, bytes]  # file name in the bundle -> content
    main: str  # the file that holds the weights
    predict: Callable[[Float], Logits]  # (N, J) rad -> (N, V, H, W)
    known_answers: Callable[[Float], bytes]  # (K, J) rad -> content of known_answers.npz
    open_frame: Callable[[], Frame] | None  # opens it for timing, batch 1; None where it cannot run on this machine
    beside: Mapping[str, Callable[[Float], Logits]]  # other files that the parity gate must see: name -> predict
    depth: Callable[[Float], Logits] | None = None  # (N, J) rad -> (N, V, H, W) m, where the network has a depth head
    plan: PlanPart | None = None  # where the target builds one
    native: Callable[[], bytes] | None = None  # the same network's weight file, where `files` has none but could

    @property
    def weight_bytes(self) -> int:
        """Size of the file that holds the weights."""
        files = self.files if self.main in self.files or self.plan is None else self.plan.cache
        return len(files[self.main])


class Target(Protocol):
    """One backend per file: edgekin.compile.native, .onnx_target, .tensorrt.target."""

    name: str
    rival: str  # precision that INT8 must be no slower than to be shipped; empty: INT8 is shipped untimed

    def body(self, graph: BodyGraph, precision: str) -> Product:
        """Compile a body model at fp32 or int8; raises ConfigError where the target has none."""

    def field(self, graph: FieldGraph, precision: str) -> Product:
        """Compile a free-form model's plain ray-marcher; raises ConfigError where the target has none."""

    def fp32(self, graph: Graph) -> Product:
        """Compile without quantization."""

    def fp16(self, graph: Graph) -> Product:
        """Compile with an FP16 body; raises ConfigError where the target has none."""

    def int8(self, graph: Graph, calibration: Calibration) -> Product:
        """Compile with symmetric int8 at the calibrated scales."""
