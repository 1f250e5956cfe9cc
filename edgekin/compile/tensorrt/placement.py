"""The rules by which Q/DQ must stand for TensorRT to compute a layer in INT8, checked on the ONNX itself.

A graph that breaks them still runs in ONNX Runtime and still builds: it is only slower, or another network than the
one that was calibrated. Source: TensorRT's developer guide, "Working with quantized types", and what builders were seen
to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import MissingExtra

WEIGHTED = ("Gemm", "Conv", "ConvTranspose")
#: Fewer input channels fill no tensor-core instruction: INT8 gains nothing there.
MIN_CHANNELS = 16


@dataclass
class Network:
    """An ONNX graph with its edges."""

    nodes: list[Any]
    constants: dict[str, NDArray[Any]]
    outputs: set[str]
    opset: int
    producer: dict[str, Any] = field(default_factory=dict)  # tensor -> the node that makes it
    readers: dict[str, list[Any]] = field(default_factory=dict)  # tensor -> the nodes that read it

    def __post_init__(self) -> None:
        for node in self.nodes:
            for name in node.output:
                self.producer[name] = node
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def made_by(self, tensor: str, op: str) -> Any | None:
        """Return the node that makes a tensor, where it is of that kind."""
        node = self.producer.get(tensor)
        return node if node is not None and node.op_type == op else None

    def same(self, one: str, other: str) -> bool:
        """Return whether two tensors are equal constants."""
        found = [self.constants.get(name) for name in (one, other)]
        return found[0] is not None and found[1] is not None and bool(np.array_equal(found[0], found[1]))

    def weighted(self) -> list[Any]:
        """Return the nodes with weights, in order."""
        return [node for node in self.nodes if node.op_type in WEIGHTED]

    def is_int8(self, node: Any) -> bool:
        """Whether activation and weights of a weighted node stand behind a DQ."""
        return all(self.made_by(name, "DequantizeLinear") is not None for name in node.input[:2])

    def weights(self, node: Any) -> NDArray[Any]:
        """Return the stored weights of a weighted node: floats, or codes where they stand behind a DQ (and a Q)."""
        name = node.input[1]
        while name not in self.constants:
            name = self.producer[name].input[0]
        return self.constants[name]


def read_network(model: bytes) -> Network:
    """Return the graph of a serialized ONNX model."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", "train") from error
    parsed = onnx.load_from_string(model)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in parsed.graph.initializer}
    return Network(list(parsed.graph.node), constants, {output.name for output in parsed.graph.output},
                   parsed.opset_import[0].version)


def violations(model: bytes) -> list[str]:
    """Return what breaks the rules, each with the node's name and the rule; empty where nothing does."""
    network = read_network(model)
    rules: tuple[Callable[[Network], Iterator[str]], ...] = (_scales, _pairs, _layers, _axes, _types)
    return [found for rule in rules for found in rule(network)]


def _qdq(network: Network) -> Iterator[Any]:
    return (node for node in network.nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear"))


def _scales(network: Network) -> Iterator[str]:
    for node in _qdq(network):
        scale = network.constants.get(node.input[1])
        zero = network.constants.get(node.input[2]) if len(node.input) > 2 else None
        if scale is None or not (np.isfinite(scale) & (scale > 0)).all():
            yield f"{node.name}: scales must be positive constants"
        if zero is None or zero.dtype != np.int8 or zero.any():
            yield f"{node.name}: zero-points must be int8 and 0"


def _pairs(network: Network) -> Iterator[str]:
    """Every activation goes Q -> DQ -> weighted nodes, and nothing but a weighted node reads a DQ."""
    for node in _qdq(network):
        out = node.output[0]
        after = [reader.op_type for reader in network.readers.get(out, [])]
        if node.op_type == "QuantizeLinear":
            if out in network.outputs or set(after) != {"DequantizeLinear"}:
                yield f"{node.name}: a Q must be read by DQ alone, it is by {', '.join(after) or 'none'}"
            before = network.producer.get(node.input[0])
            if before is not None and before.op_type in WEIGHTED and any(
                    reader.op_type == "Relu" for reader in network.readers[node.input[0]]):
                yield f"{node.name}: a Q between {before.name} and its Relu keeps them from being one kernel"
            if before is not None and before.op_type == "DequantizeLinear":
                yield f"{node.name}: quantized twice, with nothing between"
            continue
        if out in network.outputs or not after or set(after) - set(WEIGHTED):
            yield f"{node.name}: a DQ must be read by weighted nodes alone, it is by {', '.join(after) or 'none'}"
        pair = network.made_by(node.input[0], "QuantizeLinear")
        if pair is not None and not all(network.same(*names) for names in zip(pair.input[1:], node.input[1:],
                                                                             strict=False)):
            yield f"{node.name}: its Q has another scale or zero-point"


def _layers(network: Network) -> Iterator[str]:
    weighted = network.weighted()
    for node in weighted:
        behind = [network.made_by(name, "DequantizeLinear") is not None for name in node.input]
        if behind[0] != behind[1]:
            yield f"{node.name}: activation and weights must both stand behind a DQ, or neither"
        if len(behind) > 2 and behind[2]:
            yield f"{node.name}: the bias stands behind a DQ, it must stay a float"
        if not network.is_int8(node):
            continue
        weight = network.weights(node)
        rows, columns = (1, 0) if node.op_type == "ConvTranspose" else (0, 1)
        if weight.shape[columns] < MIN_CHANNELS or (node is weighted[-1] and weight.shape[rows] < MIN_CHANNELS):
            yield f"{node.name}: {weight.shape} is INT8, with fewer than {MIN_CHANNELS} channels it gains nothing"


def _axes(network: Network) -> Iterator[str]:
    for node in _qdq(network):
        scale = network.constants.get(node.input[1], np.ones(()))
        readers = [r for r in network.readers.get(node.output[0], []) if r.op_type in WEIGHTED]
        of_weights = bool(readers) and all(reader.input[1] == node.output[0] for reader in readers)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if scale.ndim == 0:
            continue
        if node.op_type == "DequantizeLinear" and not of_weights:
            yield f"{node.name}: an activation must have one scale, it has {scale.size}"
        for reader in readers if of_weights else []:
            if reader.op_type == "ConvTranspose":
                yield f"{node.name}: a transposed convolution must have one weight scale: tools disagree on its axis"
            elif axis != 0 or scale.shape != network.weights(reader).shape[:1]:
                yield f"{node.name}: weight scales must be one, or one for each output channel (axis 0)"


def _types(network: Network) -> Iterator[str]:
    kinds = Counter(str(network.constants[node.input[1]].dtype) for node in _qdq(network)
                    if node.input[1] in network.constants)
    floats = {str(network.constants[node.input[2]].dtype) for node in network.weighted()
              if len(node.input) > 2 and node.input[2] in network.constants}
    if len(kinds | Counter(floats)) > 1:
        yield f"scales and biases are of {', '.join(sorted({*kinds, *floats}))}, expected one type throughout"
    if "float16" in kinds and network.opset < 19:
        yield f"FP16 scales need opset 19, this is opset {network.opset}"
