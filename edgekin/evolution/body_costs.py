"""What a body model takes on a core: its tables exactly, its instructions by what is drawn and scored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu.body import STEPS
from edgekin.compile.mcu.body_export import arena_bytes
from edgekin.compile.mcu.body_reference import drawn, predict
from edgekin.compile.mcu.body_still import NOTHING, still
from edgekin.compile.mcu.model import BodyModel, open_model
from edgekin.compile.mcu.reference import to_units
from edgekin.evolution.costs import Figures
from edgekin.evolution.decoder_costs import PIXELS_BYTES
from edgekin.evolution.problem import Costs

#: sizeof(ek_ellipsoid), (ek_hinge), (ek_view) and (ek_body): engines/mcu/body_*.h.
ELLIPSOID_BYTES, HINGE_BYTES, VIEW_BYTES, BODY_BYTES = 44, 56, 76, 60
#: What the size of the code depends on: it is the same for all.
CODE = {"any": 1.0, "body": 1.0}
#: Poses that instructions are counted at: the slowest counts.
POSES = 32
#: Instructions of a row, of a pixel inside and of one of an edge, counted in the code of a Cortex-M4. Bodies that are
#: fitted to have them all in the same proportions, so one coefficient is fitted for the three together.
ROW, INSIDE, EDGE = 85.0, 7.0, 15.0
#: Of eight scored pixels, about: it tells which pose is the slowest.
SCORED = 130.0


def features(model: BodyModel, joint_pos: NDArray[np.float64]) -> dict[str, float]:
    """Return what instructions depend on, at the slowest of the poses (N, J) rad."""
    body, units = model.body, to_units(joint_pos[:POSES])
    rows, inside, edges = drawn(body, units)
    drawing, scored = ROW * rows + INSIDE * inside + EDGE * edges, _scored(predict(body, units))
    slowest = int((drawing + SCORED * scored).argmax())
    views = len(body.views)
    return {"body pixels": views * body.height * body.width, "still pixels": len(still(body).values),
            "frames": views * (len(body.hinges) + 1), "ellipsoids": views * (len(body.centre) - body.n_still),
            "drawing": float(drawing[slowest]), "scored bytes": float(scored[slowest])}


def _scored(pictures: NDArray[np.int8]) -> NDArray[np.int64]:
    """Eights of pixels (N,) of pictures (N, V, H, W) that show anything, which a score looks at one by one."""
    shown = np.packbits(pictures != NOTHING, axis=-1) > 0
    return np.asarray(shown.sum(axis=(1, 2, 3)))


def table_bytes(model: BodyModel) -> int:
    """Return the bytes of a body model's constants."""
    body = model.body
    return (PIXELS_BYTES + BODY_BYTES + ELLIPSOID_BYTES * (len(body.centre) - body.n_still)
            + HINGE_BYTES * len(body.hinges) + VIEW_BYTES * len(body.views) + STEPS * len(body.covers)
            + still(body).bytes)


def body_costs(weights: bytes, joint_pos: NDArray[np.float64], figures: Figures) -> Costs:
    """Return flash, RAM and instructions of a body model's weight file."""
    model = open_model(weights)
    assert isinstance(model, BodyModel)
    return Costs(figures.flash(CODE, table_bytes(model)), arena_bytes(model.body) + figures.ram_bytes,
                 figures.counted(features(model, joint_pos)))
