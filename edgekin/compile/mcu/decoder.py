"""A decoder's exported source and header."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu.emit import arena, constant, function, kernels_text
from edgekin.compile.mcu.lower import lower
from edgekin.compile.mcu.program import Table
from edgekin.compile.mcu.reference import ScoreUnits, pixels, score_units
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
    predict: str = "edgekin_predict(joints);           /* a picture of int8: above 0 a pixel shows the robot */"


#: What a decoder's numbers mean.
MEANING = "The natural-log odds that a pixel shows the robot are value * EDGEKIN_LOGIT_SCALE."


def header(shape: tuple[int, int, int], joints: int, arena_bytes: int, units: ScoreUnits, meaning: str,
           define: str) -> str:
    """Return the public header of a model.

    Args:
        shape: views, height and width.
        joints: how many.
        arena_bytes: of static memory.
        units: of a score's sums.
        meaning: a sentence on what the numbers of a prediction mean.
        define: the macro that it speaks of.
    """
    values = {"joints": joints, "views": shape[0], "height": shape[1], "width": shape[2], "arena_bytes": arena_bytes,
              "nll_bits": units.nll_bits, "squared_bits": units.squared_bits, "meaning": meaning, "define": define}
    return filled("edgekin_model.h.in", values)


def log_odds(graph: QuantGraph) -> NDArray[np.float64]:
    """Return the log-odds that a prediction means, by its value as an unsigned byte (256,)."""
    return np.arange(256).astype(np.uint8).view(np.int8).astype(np.float64) * graph.out_scale


def export(graph: QuantGraph, layout: str) -> Exported:
    """Return the source and header of a decoder for one layout.

    Raises:
        ConfigError: a layer that the kernels do not take.
    """
    code = function(lower(graph, layout), "edgekin_predict")
    odds = log_odds(graph)
    units = score_units(graph.width, float(odds.max()))
    table = Table("ek_pixels", "ek_pixel", pixels(units, odds))
    rows = graph.n_views * graph.height
    source = (f'#include "{HEADER}"\n\n' + kernels_text([*code.kernels, "score.h"]) + "\n"
              + arena(code.arena_bytes) + code.text + "\n" + constant(table)
              + "\nvoid edgekin_score(const uint8_t *mask, edgekin_score_t *score) {\n"
              f"  ek_score(ek_arena.bytes + {code.logits}, {rows}, {graph.width}, mask, ek_pixels, score);\n}}\n")
    text = header((graph.n_views, graph.height, graph.width), graph.n_joints, code.arena_bytes, units, MEANING,
                  f"#define EDGEKIN_LOGIT_SCALE {graph.out_scale!r}f")
    return Exported({HEADER: text, SOURCE: source}, graph.n_joints,
                    rows * graph.width, rows * (-(-graph.width // 8)))
