"""What no joint moves in a body model's pictures: drawn once, at export, and kept as spans of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu.body import FixedBody
from edgekin.compile.mcu.body_reference import picture, still_light

NOTHING = -127  # EK_NOTHING
#: Of a span, and of what is skipped in front of it: both are bytes.
LONGEST = 255


@dataclass(frozen=True)
class Still:
    """Spans of all pictures, one after the other; in between a picture shows nothing."""

    spans: NDArray[np.uint8]  # (S, 2) pixels that are skipped, pixels of the span
    values: NDArray[np.int8]  # the pixels of all spans

    @property
    def bytes(self) -> int:
        """Return the bytes of its tables."""
        return self.spans.size + self.values.size


def still(body: FixedBody) -> Still:
    """Return what stands in a body's pictures before anything that moves is drawn."""
    light = np.stack([still_light(body, v) for v in range(len(body.views))])
    values = picture(light).ravel()
    return _spans(values, np.flatnonzero(values != NOTHING))


def _spans(values: NDArray[np.int8], there: NDArray[np.int64]) -> Still:
    spans, end = list[tuple[int, int]](), 0
    for run in np.split(there, np.flatnonzero(np.diff(there) > 1) + 1) if len(there) else []:
        start, stop = int(run[0]), int(run[-1]) + 1
        spans += [(LONGEST, 0)] * ((start - end) // LONGEST)
        skip = (start - end) % LONGEST
        for at in range(start, stop, LONGEST):
            spans.append((skip, min(LONGEST, stop - at)))
            skip = 0
        end = stop
    return Still(np.array(spans, dtype=np.uint8).reshape(-1, 2), values[there])
