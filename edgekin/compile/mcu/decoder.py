"""A decoder's exported source and header."""

from __future__ import annotations

from dataclasses import dataclass

from edgekin.compile.mcu.emit import arena, constant, function, kernels_text
from edgekin.compile.mcu.lower import lower
from edgekin.compile.mcu.program import Table
from edgekin.compile.mcu.reference import pixels, score_units
from edgekin.compile.mcu.sources import filled
from edgekin.quantization.qgraph import QuantGraph

HEADER, SOURCE = "edgekin_model.h", "edgekin_model.c"


@dataclass(frozen=True)
class Exported:
    """A model as C."""

    files: dict[str, str]  # name -> text
    joints: int
    logits: int  # bytes of a prediction
    mask: int  # bytes of a mask
    predict: str = "edgekin_predict(joints);           /* logits, int8: above 0 a pixel shows the robot */"


def header(graph: QuantGraph, arena_bytes: int) -> str:
    """Return the public header of a decoder."""
    units = score_units(graph.width, graph.out_scale)
    values = {"joints": graph.n_joints, "views": graph.n_views, "height": graph.height, "width": graph.width,
              "arena_bytes": arena_bytes, "logit_scale": f"{graph.out_scale!r}", "nll_bits": units.nll_bits,
              "squared_bits": units.squared_bits}
    return filled("edgekin_model.h.in", values)


def export(graph: QuantGraph, layout: str) -> Exported:
    """Return the source and header of a decoder for one layout.

    Raises:
        ConfigError: a layer that the kernels do not take.
    """
    code = function(lower(graph, layout), "edgekin_predict")
    units = score_units(graph.width, graph.out_scale)
    table = Table("ek_pixels", "ek_pixel", pixels(units, graph.out_scale))
    rows = graph.n_views * graph.height
    source = (f'#include "{HEADER}"\n\n' + kernels_text([*code.kernels, "score.h"]) + "\n"
              + arena(code.arena_bytes) + code.text + "\n" + constant(table)
              + "\nvoid edgekin_score(const uint8_t *mask, edgekin_score_t *score) {\n"
              f"  ek_score(ek_arena.bytes + {code.logits}, {rows}, {graph.width}, mask, ek_pixels, score);\n}}\n")
    return Exported({HEADER: header(graph, code.arena_bytes), SOURCE: source}, graph.n_joints,
                    rows * graph.width, rows * (-(-graph.width // 8)))
