"""The best target that this machine has for a model, and why not a better one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgekin.errors import EdgekinError
from edgekin.models.field_graph import FieldGraph
from edgekin.models.graph import Graph

if TYPE_CHECKING:
    from edgekin.training.run import Run

#: What keeps a target from a graph (of any kind) at a precision; empty where nothing does.
WhyNot = Callable[[Any, str], str]


def _plans(target: str) -> WhyNot:
    def why_not(graph: Any, precision: str) -> str:
        from edgekin.gpu import gpu
        from edgekin.plans.api import load

        if not isinstance(graph, Graph):
            return "it runs networks alone"
        try:
            api, here = load(target), gpu()
            if api.ahead_of_time:
                api.capability(here.sm)
        except EdgekinError as error:
            return error.message
        return ""

    return why_not


def _cuda(graph: Any, precision: str) -> str:
    from edgekin.gpu import gpu
    from edgekin.runtime.cuda_kernels import cached_cubin

    if isinstance(graph, FieldGraph):
        return "it has no free-form models"
    if precision == "fp16" and not isinstance(graph, Graph):
        return "it has no body models in fp16"
    try:
        cached_cubin(gpu().sm)
    except EdgekinError as error:
        return error.message
    return ""


def _native(graph: Any, precision: str) -> str:
    if isinstance(graph, FieldGraph):
        return "it has no free-form models"
    return "it has no fp16" if precision == "fp16" else ""


#: Best first. Our kernels are what the loop runs on a GPU, from joints to scores in one launch; of plans, TensorRT's
#: were chosen by timing them on this very GPU. Not by measurement: none has been made.
CANDIDATES: dict[str, WhyNot] = {
    "cuda": _cuda, "tensorrt": _plans("tensorrt"), "tensorrt-rtx": _plans("tensorrt-rtx"), "native": _native,
    "onnx": lambda graph, precision: "",
}


def choose(run: Run, precision: str) -> tuple[str, str]:
    """Return the best target for a run, and in a sentence which and why.

    Args:
        run: the trained run.
        precision: fp32, fp16 or int8.
    """
    from edgekin.models import to_graph

    graph, passed = to_graph(run.self_model), list[str]()
    for target, why_not in CANDIDATES.items():
        reason = why_not(graph, precision)
        if not reason:
            return target, f"target {target}, the best that is there" + "".join(f"; not {text}" for text in passed)
        passed.append(f"{target}: {reason}")
    raise AssertionError("target onnx takes everything")
