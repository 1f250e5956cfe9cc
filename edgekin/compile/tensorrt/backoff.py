"""INT8 layers that will not build go back to FP16, one by one; the others stay."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from edgekin.compile.tensorrt.builder import BuildFailed, Built
from edgekin.compile.tensorrt.placement import read_network
from edgekin.errors import MissingExtra


@dataclass(frozen=True)
class BackedOff:
    """A plan, the ONNX that it was built of, and what had to leave INT8."""

    built: Built
    model: bytes
    dropped: dict[str, str]  # layer -> what TensorRT said


def int8_layers(model: bytes) -> dict[str, int]:
    """Return the layers that an ONNX file computes in INT8, and how many weights each has."""
    network = read_network(model)
    return {node.output[0]: network.weights(node).size for node in network.weighted() if network.is_int8(node)}


def without(model: bytes, names: Collection[str]) -> bytes:
    """Return the ONNX file with some layers in the body's precision: no Q/DQ in front, weights dequantized.

    The weights stay the rounded ones: what is computed is the same network, the activation's rounding less.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", "train") from error
    network, parsed = read_network(model), onnx.load_from_string(model)
    weights = {}
    for node in parsed.graph.node:
        if node.output[0] not in names:
            continue
        activation, weight = (network.producer[name] for name in node.input[:2])
        scale = network.constants[weight.input[1]]
        codes = network.weights(node)
        if codes.dtype == np.int8:  # floats behind a Q and a DQ are what they are
            codes = codes.astype(np.float64) * scale.astype(np.float64).reshape(
                (-1, *[1] * (codes.ndim - 1)) if scale.ndim else ())
        weights[f"{node.output[0]}_w_float"] = codes.astype(scale.dtype)
        node.input[0] = network.producer[activation.input[0]].input[0]
        node.input[1] = f"{node.output[0]}_w_float"
    parsed.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    _drop_unread(parsed.graph)
    onnx.checker.check_model(parsed, full_check=True)
    content: bytes = parsed.SerializeToString()
    return content


def _drop_unread(graph: object) -> None:
    """Remove nodes and constants that nothing reads any more."""
    nodes, constants = graph.node, graph.initializer  # type: ignore[attr-defined]
    while True:
        read = {name for node in nodes for name in node.input} | {out.name for out in graph.output}  # type: ignore[attr-defined]
        dead = [node for node in nodes if not any(name in read for name in node.output)]
        if not dead:
            break
        for node in dead:
            nodes.remove(node)
    for constant in [c for c in constants if c.name not in read]:
        constants.remove(constant)


def back_off(build: Callable[[bytes], Built], model: bytes) -> BackedOff:
    """Build with as many INT8 layers as will build.

    First a layer that the error names leaves; where it names none, layers enter one by one, the heaviest first.

    Args:
        build: builds a plan of an ONNX file, or raises BuildFailed.
        model: with Q/DQ.

    Raises:
        BuildFailed: no plan builds even without INT8, or none with any.
    """
    layers, dropped = int8_layers(model), dict[str, str]()
    while True:
        current = without(model, dropped) if dropped else model
        try:
            return BackedOff(build(current), current, dropped)
        except BuildFailed as error:
            # The longest name first: conv1 is also the beginning of conv10.
            left = sorted(layers.keys() - dropped, key=len, reverse=True)
            named = [name for name in left if name in error.message]
            if not named:
                return _one_by_one(build, model, error)
            dropped[named[0]] = error.message
            if len(dropped) == len(layers):
                raise BuildFailed(f"no layer builds in INT8: {error.message}", "Compile with --fp16") from error


def _one_by_one(build: Callable[[bytes], Built], model: bytes, first: BuildFailed) -> BackedOff:
    layers = int8_layers(model)
    dropped = dict.fromkeys(layers, first.message)
    build(without(model, dropped))  # what fails without INT8 is not INT8's fault
    best: tuple[Built, bytes] | None = None
    for name in sorted(layers, key=lambda n: layers[n], reverse=True):
        rest = {other: why for other, why in dropped.items() if other != name}
        current = without(model, rest) if rest else model
        try:
            best = build(current), current
            dropped = rest
        except BuildFailed as error:
            dropped[name] = error.message
    if best is None:
        raise BuildFailed(f"no layer builds in INT8: {first.message}", "Compile with --fp16")
    return BackedOff(*best, dropped)
