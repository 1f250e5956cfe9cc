"""Pictures as text, small enough to lie in a JSON file."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENCODING = "uint8, row by row, zlib, base64"


def packed_picture(picture: NDArray[Any]) -> str:
    """Return (H, W) values of 0 to 1 as text."""
    return base64.b64encode(zlib.compress(np.rint(np.asarray(picture) * 255).astype(np.uint8).tobytes(), 9)).decode()


def unpacked_picture(text: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the (H, W) values of 0 to 1 that `packed_picture` was given, in steps of 1/255."""
    raw = zlib.decompress(base64.b64decode(text))
    return np.asarray(np.frombuffer(raw, np.uint8).reshape(shape) / np.float32(255), dtype=np.float32)
