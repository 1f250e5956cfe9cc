"""What bench.c runs, as C: exported models, or many small decoders in one source."""

from __future__ import annotations

from collections.abc import Sequence

from edgekin.compile.mcu.decoder import HEADER, Exported
from edgekin.compile.mcu.emit import arena, function, kernels_text
from edgekin.compile.mcu.emulate import Subject
from edgekin.compile.mcu.lower import lower, sizes_of
from edgekin.quantization.qgraph import QuantGraph

SCORE_BYTES = 32  # of edgekin_score_t, padding included


def of_model(model: Exported) -> tuple[str, list[Subject]]:
    """Return subjects.c of one exported model."""
    text = (f'#include "{HEADER}"\n#include "subjects.h"\n\n'
            "static void score(const uint8_t *mask, void *score) {\n  edgekin_score(mask, score);\n}\n\n"
            "const ek_subject ek_subjects[] = {"
            f"{{edgekin_predict, score, {model.joints}, {model.logits}, {model.mask}, "
            "sizeof(edgekin_score_t)}};\nconst int ek_n_subjects = 1;\n")
    return text, [Subject(model.joints, model.logits, model.mask, SCORE_BYTES)]


def of_graphs(graphs: Sequence[QuantGraph], layout: str, marked: bool = False) -> tuple[str, list[Subject]]:
    """Return one source with many decoders, which are not scored; marked: each step ends with ek_mark()."""
    codes = [function(lower(graph, layout, f"g{i}"), f"g{i}_predict", marked) for i, graph in enumerate(graphs)]
    kernels = sorted({name for code in codes for name in code.kernels}, key=_place)
    subjects = [Subject(g.n_joints, g.n_views * sizes_of(g)[-1][1] * g.width, 0) for g in graphs]
    entries = "".join(f"    {{g{i}_predict, 0, {s.joints}, {s.logits}, 0, 0}},\n" for i, s in enumerate(subjects))
    mark = "void ek_mark(void);\n\n" if marked else ""
    text = ('#include "subjects.h"\n\n' + mark + kernels_text(kernels) + "\n" + arena(max(c.arena_bytes for c in codes))
            + "\n".join(code.text for code in codes)
            + f"\nconst ek_subject ek_subjects[] = {{\n{entries}}};\nconst int ek_n_subjects = {len(codes)};\n")
    return text, subjects


def _place(name: str) -> tuple[int, str]:
    """Kernels in an order in which each stands behind what it needs."""
    first = ("common.h", "dot_", "input.h", "linear_fine.h", "conv.h")
    return next((i for i, start in enumerate(first) if name.startswith(start)), len(first)), name
