"""What an integer decoder takes on a core: its program's tables and arena exactly, its instructions by features."""

from __future__ import annotations

import re
from collections import defaultdict

from edgekin.compile.mcu.cores import core_of
from edgekin.compile.mcu.lower import lower
from edgekin.compile.mcu.pack import ROWS, STEP, padded
from edgekin.compile.mcu.program import Program, Step, Table, place
from edgekin.evolution.costs import Figures
from edgekin.evolution.problem import Costs
from edgekin.quantization.qgraph import QuantGraph, QuantLayer

_CALL = re.compile(r"ek_(\w+)\(")
#: Compilers put a kernel that is called once into its caller, with that call's numbers: it is smaller and faster.
ONCE = " once"
#: EK_COPIED: with a layer's numbers known a convolution takes a third less.
COPIED = ("conv", "conv_plain", "conv_spans")
#: Of a struct that describes a layer, and of the table that scores pixels.
STRUCT_BYTES, PIXELS_BYTES = 64, 257 * 8


def features(graph: QuantGraph, program: Program, layout: str, pixels: int) -> dict[str, float]:
    """Return what instructions depend on: calls, outputs and products of every kernel, and the pixels scored.

    Args:
        graph: the integer decoder.
        program: made of it.
        layout: of the weights.
        pixels: that a score looks at.
    """
    layers = {layer.name: layer for layer in graph.layers}
    out: defaultdict[str, float] = defaultdict(float)
    for kernel, step in _calls(program):
        out[kernel] += 1
        layer = layers.get(step.layer)
        if layer is not None and layer.kind in ("conv", "convt"):
            places, blocks, length = _convolution(layer, step.out_bytes - step.still_bytes, STEP[layout][0])
            out[f"{kernel} places"] += places
            out[f"{kernel} outputs"] += places * blocks
            out[f"{kernel} products"] += places * blocks * ROWS * length
        else:
            out[f"{kernel} outputs"] += step.out_bytes - step.still_bytes
            if step.macs:
                out[f"{kernel} products"] += step.macs
        out["still bytes"] += step.still_bytes
    out["score pixels"] += pixels
    return dict(out)


def _convolution(layer: QuantLayer, out_bytes: int, step: int) -> tuple[float, int, int]:
    """Places, blocks of outputs and products of an output, with what they are padded to."""
    assert layer.weight is not None
    inputs, outputs = layer.weight.shape[:2][:: 1 if layer.kind == "convt" else -1]
    taps = -(-layer.weight.shape[2] // layer.attrs.get("stride", 1))
    return out_bytes / outputs, -(-outputs // ROWS), taps * padded(taps * inputs, step)


def code(program: Program) -> dict[str, float]:
    """Return what the size of the code depends on: which kernels there are, and how often each is called."""
    out: defaultdict[str, float] = defaultdict(float, {"any": 1.0})
    for kernel, _ in _calls(program):
        out[kernel] = 1.0
        out[f"{kernel} calls"] += 1.0
    return dict(out)


def _calls(program: Program) -> list[tuple[str, Step]]:
    """Return every step with its kernel's name."""
    names = [found[1] for step in program.steps if (found := _CALL.match(step.call))]
    copied = () if "dot_wide.h" in program.kernels else COPIED
    return [(name if name in copied or names.count(name) > 1 else name + ONCE, step)
            for name, step in zip(names, program.steps, strict=True)]


def table_bytes(program: Program) -> int:
    """Return the bytes of a program's constants."""
    return PIXELS_BYTES + sum(int(c.values.nbytes) if isinstance(c, Table) else STRUCT_BYTES for c in program.constants)


def decoder_costs(graph: QuantGraph, core: str, figures: Figures) -> Costs:
    """Return flash, RAM and instructions; raises ConfigError for a layer that the kernels do not take."""
    layout = core_of(core).layout
    program = lower(graph, layout)
    pixels = graph.n_views * graph.height * graph.width
    return Costs(figures.flash(code(program), table_bytes(program)), place(program.steps)[1] + figures.ram_bytes,
                 figures.counted(features(graph, program, layout, pixels)))
