"""A body that is no longer as its model, and that an inspector holds to be healthy from then on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin._ek import ffi
from edgekin.errors import RuntimeFault

Float = NDArray[np.float64]
#: What an inspector can hold to be healthy at most: a deviation or an offset, rad or share; times a misfit.
FARTHEST, WORST = 0.8, 100.0


@dataclass(frozen=True)
class ChangedBody:
    """What has changed of a body (`ek_changed_body`)."""

    sizes: Float  # (n,) of the inspector's deviations, rad or share
    offsets: Float  # (J,) rad that encoders read too much of commands
    worse: float = 1.0  # times as high as of the model is its misfit, 1 to 100
    lost: int = 0  # the link that is not there, with all beyond; 0: none

    @property
    def farthest(self) -> float:
        """The largest of sizes and offsets, by magnitude."""
        both = np.concatenate([self.sizes, self.offsets])
        return float(both[np.abs(both).argmax()])


def raw_body(body: ChangedBody | None, deviations: int, joints: int) -> Any:
    """Return a body as the C library takes it, a null pointer for the model.

    Args:
        body: or None: the model.
        deviations: of the inspector.
        joints: of the robot.

    Raises:
        RuntimeFault: a wrong number of sizes or offsets.
    """
    if body is None:
        return ffi.NULL
    for values, n, what in ((body.sizes, deviations, "sizes of deviations"),
                            (body.offsets, joints, "offsets of encoders")):
        if np.shape(values) != (n,):
            raise RuntimeFault(f"{np.size(values)} {what}, expected {n}")
    return ffi.new("ek_changed_body *", {"sizes": list(body.sizes), "offsets": list(body.offsets), "worse": body.worse,
                                       "lost": body.lost})
