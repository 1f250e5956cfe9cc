"""What a body model takes on a core: its tables exactly, its instructions by ellipsoids, rows and pixels drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu.body import STEPS, FixedBody
from edgekin.compile.mcu.body_export import arena_bytes
from edgekin.compile.mcu.body_reference import frames
from edgekin.compile.mcu.model import BodyModel, open_model
from edgekin.compile.mcu.reference import to_units
from edgekin.evolution.costs import Figures
from edgekin.evolution.decoder_costs import PIXELS_BYTES
from edgekin.evolution.problem import Costs

#: sizeof(ek_ellipsoid), (ek_hinge), (ek_view) and (ek_body): engines/mcu/body_*.h.
ELLIPSOID_BYTES, HINGE_BYTES, VIEW_BYTES, BODY_BYTES = 44, 56, 76, 52
#: What the size of the code depends on: it is the same for all.
CODE = {"any": 1.0, "body": 1.0}
#: Poses that the drawn area is taken at: the largest counts, as the slowest pose does.
POSES = 32


def features(model: BodyModel, joint_pos: NDArray[np.float64]) -> dict[str, float]:
    """Return what instructions depend on, at the pose of (N, J) rad that draws most."""
    body = model.body
    rows, pixels = _drawn(body, joint_pos[:POSES])
    worst = int(pixels.argmax())
    views = len(body.views)
    return {"picture pixels": views * body.height * body.width, "score pixels": views * body.height * body.width,
            "frames": views * (len(body.hinges) + 1), "ellipsoids": views * len(body.centre),
            "drawn rows": float(rows[worst]), "drawn pixels": float(pixels[worst])}


def _drawn(body: FixedBody, joint_pos: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and pixels of all outlines (N,), about: of balls as large as the ellipsoids, with their edges."""
    units, n = to_units(joint_pos), len(joint_pos)
    rows, pixels = np.zeros(n), np.zeros(n)
    trace = body.shape[:, [0, 3, 5]].sum(axis=1) / 3.0
    for view in body.views:
        poses, focal = frames(body, view, units), float(view.lens[:2].mean()) / 2**20
        for i in range(len(body.centre)):
            turn, shift = poses[body.frame[i]]
            depth = np.maximum(((turn[:, 2].astype(np.float64) @ body.centre[i]) / 2**30) + shift[:, 2], body.nearest)
            # The scale says how many bits of squared length the shape has: edgekin.compile.mcu.body.
            radius = np.sqrt(trace[i] * 2.0 ** (body.scale[i] + 26)) / depth * focal
            edge = 1 + 2.0**19 / max(float(body.rise[i]), 1.0)
            area = np.pi * np.square(radius) * edge + 1
            rows += np.minimum(2 * np.sqrt(area / np.pi) + 1, body.height)
            pixels += np.minimum(area, body.height * body.width)
    return rows, pixels


def table_bytes(model: BodyModel) -> int:
    """Return the bytes of a body model's constants."""
    body = model.body
    background = 0 if body.background is None else body.background.size
    return (PIXELS_BYTES + BODY_BYTES + ELLIPSOID_BYTES * len(body.centre) + HINGE_BYTES * len(body.hinges)
            + VIEW_BYTES * len(body.views) + STEPS * len(body.covers) + background)


def body_costs(weights: bytes, joint_pos: NDArray[np.float64], figures: Figures) -> Costs:
    """Return flash, RAM and instructions of a body model's weight file."""
    model = open_model(weights)
    assert isinstance(model, BodyModel)
    return Costs(figures.flash(CODE, table_bytes(model)), arena_bytes(model.body) + figures.ram_bytes,
                 figures.counted(features(model, joint_pos)))
