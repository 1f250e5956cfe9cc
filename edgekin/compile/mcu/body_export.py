"""A body model's exported source and header."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu.body import FixedBody, FixedPose
from edgekin.compile.mcu.body_still import Still, still
from edgekin.compile.mcu.decoder import HEADER, SOURCE, Exported, header
from edgekin.compile.mcu.emit import braced, constant, kernels_text
from edgekin.compile.mcu.program import Table
from edgekin.compile.mcu.reference import ScoreUnits

KERNELS = ("common.h", "input.h", "body_fixed.h", "body_pose.h", "body_outline.h", "body_draw.h", "body.h", "score.h")
POSE_BYTES = 48  # sizeof(ek_pose)
MEANING = "The probability that a pixel shows the robot is (value + 127) / 254, within EDGEKIN_EMPTY of 0 and 1."


def _pose(pose: FixedPose) -> str:
    return f"{{{braced(pose.turn.ravel())}, {braced(pose.shift)}}}"


def _array(ctype: str, name: str, entries: Iterable[str]) -> str:
    return f"static const {ctype} {name}[] = {{\n" + "".join(f"{entry},\n" for entry in entries) + "};\n"


def _constants(body: FixedBody, stands: Still) -> str:
    hinges = [f"{{{_pose(h.start)}, {h.parent}, {h.joint}, {h.slide}}}" for h in body.hinges]
    views = [f"{{{_pose(v.base)}, {', '.join(map(str, (*v.lens.tolist(), *v.products.tolist())))}}}"
             for v in body.views]
    rows = zip(body.centre, body.shape, body.rise.tolist(), body.scale.tolist(), body.frame.tolist(),
               body.cover.tolist(), strict=True)
    ellipsoids = [f"{{{braced(c)}, {braced(s)}, {rise}, {scale}, {frame}, {of}}}"
                  for c, s, rise, scale, frame, of in rows][body.n_still :]
    text = _array("ek_view", "model_views", views)
    if ellipsoids:
        text += _array("ek_ellipsoid", "model_ellipsoids", ellipsoids)
    cover = "".join(f"{braced(row)},\n" for row in body.covers)
    text += f"static const uint8_t model_cover[][EK_STEPS] = {{\n{cover}}};\n"
    if hinges:
        text += _array("ek_hinge", "model_hinges", hinges)
    if len(stands.spans):
        text += constant(Table("model_spans", "ek_still", stands.spans))
        text += constant(Table("model_still", "int8_t", stands.values))
    return text


def arena_bytes(body: FixedBody) -> int:
    """Return the bytes of a body model's variables: its pictures, and where the parts are."""
    return len(body.views) * body.height * body.width + POSE_BYTES * (len(body.hinges) + 1)


def export(body: FixedBody, units: ScoreUnits, table: NDArray[np.uint32]) -> Exported:
    """Return the source and header of a body model."""
    rows, n = len(body.views) * body.height, len(body.hinges) + 1
    picture = rows * body.width
    stands, moving = still(body), len(body.centre) - body.n_still
    names = (f"{'model_hinges' if body.hinges else '0'}, {'model_ellipsoids' if moving else '0'}, model_views, "
             f"model_cover, {'model_spans, model_still' if len(stands.spans) else '0, 0'}")
    fields = (f"{names}, {{{body.nearest}, {body.low_pass}, {body.shape_bits}}}, {n - 1}, {moving}, "
              f"{len(body.views)}, {len(stands.spans)}, {body.height}, {body.width}")
    source = (f'#include "{HEADER}"\n\n' + kernels_text(KERNELS) + "\n" + _constants(body, stands)
              + f"static const ek_body model = {{{fields}}};\n" + constant(Table("ek_pixels", "ek_pixel", table))
              + f"\nstatic ek_pose ek_frame[{n}];\nstatic int8_t ek_picture[{picture}] EK_ALIGNED;\n\n"
              "const int8_t *edgekin_predict(const int32_t *joints) {\n"
              "  ek_predict(&model, joints, ek_frame, ek_picture);\n  return ek_picture;\n}\n\n"
              "void edgekin_score(const uint8_t *mask, edgekin_score_t *score) {\n"
              f"  ek_score(ek_picture, {rows}, {body.width}, mask, ek_pixels, score);\n}}\n")
    shape = (len(body.views), body.height, body.width)
    meaning = f"#define EDGEKIN_EMPTY {body.empty:.6g}f"
    text = header(shape, body.n_q, arena_bytes(body), units, MEANING, meaning)
    return Exported({HEADER: text, SOURCE: source}, body.n_q, picture, rows * (-(-body.width // 8)))
