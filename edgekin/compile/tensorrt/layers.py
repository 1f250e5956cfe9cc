"""Which precision each layer was asked for, and which one its kernel got."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekin.compile.tensorrt.placement import read_network
from edgekin.plans.api import Api, Message

#: How TensorRT's formats name a type: "Half", "Row major linear FP16 format", "... vectorized row major Int8 format".
_TYPES = {"int8": "int8", "half": "fp16", "fp16": "fp16", "float": "fp32", "fp32": "fp32", "bf16": "bf16"}
_TENSOR = re.compile(r"Dimensions: \[([\d,]*)\].*?Datatype: (\w+)")


@dataclass(frozen=True)
class Layer:
    """A layer with weights: of the ONNX, and as it was built."""

    name: str
    asked: str  # fp32 | fp16 | int8
    got: str  # the same; "unknown" where the plan does not tell
    weights: int  # how many

    @property
    def kept(self) -> bool:
        """Whether it got what it was asked for."""
        return self.got == self.asked


@dataclass(frozen=True)
class Kernel:
    """A layer of the plan."""

    name: str
    metadata: str  # the ONNX nodes in it
    tensors: tuple[tuple[int, str], ...]  # what it reads: elements, type


def asked(model: bytes, weak_body: str = "") -> list[tuple[str, str, str, int]]:
    """Return (layer, node, precision, weights) for each layer with weights of an ONNX file.

    Args:
        model: serialized.
        weak_body: precision of what is no int8 layer where the file's own types do not say it.
    """
    network = read_network(model)
    found = []
    for node in network.weighted():
        body = {"float16": "fp16", "float32": "fp32"}[str(network.constants[node.input[2]].dtype)]
        precision = "int8" if network.is_int8(node) else weak_body or body
        found.append((node.output[0], node.name, precision, network.weights(node).size))
    return found


def layers(model: bytes, kernels: Sequence[Kernel], weak_body: str = "") -> list[Layer]:
    """Return every layer with weights beside the kernel that computes it: that which reads as many weights."""
    result = []
    for name, node, precision, count in asked(model, weak_body):
        # A kernel has the node's name, or the node among what was fused into it.
        named = [k for k in kernels if k.name.startswith(node)]
        named += [k for k in kernels if f"[ONNX Layer: {node}]" in k.metadata]
        types = [kind for kernel in named for elements, kind in kernel.tensors if elements == count]
        result.append(Layer(name, precision, types[0] if types else "unknown", count))
    return result


def from_log(log: Sequence[Message]) -> list[Kernel]:
    """Return a plan's kernels as the builder logs them: all that can be had without the GPU that it is for."""
    text = next((m.text for m in reversed(log) if m.text.startswith("Layers:")), "")
    kernels = []
    for line in text.splitlines():
        head = re.match(r"Name: (.*?), LayerType: \w+", line)
        if head:
            reads = line.partition("Inputs: ")[2].partition(", Outputs: ")[0]
            tensors = tuple((_elements(dims.split(",")), _type(kind)) for dims, kind in _TENSOR.findall(reads))
            kernels.append(Kernel(head[1], line.partition("Metadata: ")[2], tensors))
    return kernels


def from_inspector(api: Api, engine: Any) -> list[Kernel]:
    """Return the kernels of an engine that has been deserialized, as its inspector tells them."""
    text = engine.create_engine_inspector().get_engine_information(api.module.LayerInformationFormat.JSON)
    return from_json(text)


def from_json(text: str) -> list[Kernel]:
    """Return the kernels that an engine inspector's JSON tells of; names alone tell nothing."""
    kernels = []
    for entry in json.loads(text).get("Layers", []):
        if not isinstance(entry, dict):
            continue
        reads = [*entry.get("Inputs", []), *entry.get("Constants", [])]
        tensors = [(_elements(t.get("Dimensions", [])), _type(t.get("Datatype") or t.get("Format/Datatype", "")))
                   for t in reads]
        weights = entry.get("Weights")
        if isinstance(weights, dict) and "Count" in weights:
            tensors.insert(0, (int(weights["Count"]), _type(str(weights.get("Type", "")))))
        kernels.append(Kernel(str(entry.get("Name", "")), str(entry.get("Metadata", "")), tuple(tensors)))
    return kernels


def _elements(dims: Sequence[Any]) -> int:
    return math.prod(int(size) for size in dims if str(size))


def _type(text: str) -> str:
    return next((name for word, name in _TYPES.items() if word in text.lower()), "unknown")
