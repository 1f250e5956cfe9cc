"""A contact sheet of a dataset's masks, to look at before training on them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import DataError, MissingExtra
from edgekin.output import write_atomic
from edgekin.sim.dataset import Dataset, take

if TYPE_CHECKING:
    from PIL import Image

COLUMNS, ROWS, GAP = 8, 6, 2
#: Pixels for each of a single row's.
ENLARGED = 4


def write_preview(data: Dataset, path: Path, force: bool = False) -> None:
    """Write a PNG of up to 48 masks of the first camera, spread evenly over the data.

    Raises:
        DataError: the file exists or cannot be written.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "train") from None
    if path.exists() and not force:
        raise DataError(f"{path} exists already", "Choose another --preview, or overwrite it with --force")
    rows = np.unique(np.linspace(0, len(data) - 1, min(len(data), COLUMNS * ROWS)).astype(int))
    masks = take(data, rows).masks[:, 0]
    height, width = masks.shape[1:]
    sheet = np.full((ROWS * (height + GAP) + GAP, COLUMNS * (width + GAP) + GAP), 90, dtype=np.uint8)
    for index, mask in enumerate(masks):
        top = GAP + index // COLUMNS * (height + GAP)
        left = GAP + index % COLUMNS * (width + GAP)
        sheet[top : top + height, left : left + width] = np.where(mask, 235, 20)
    _save(Image.fromarray(sheet), path)


def write_row(pictures: Sequence[NDArray[np.float64]], path: Path) -> None:
    """Write a PNG of pictures (V, H, W) of 0 to 1 side by side, a row for each camera, four times as large.

    Raises:
        DataError: the file cannot be written.
        MissingExtra: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "train") from None
    shade = [np.rint(20 + 215 * np.pad(one, ((0, 0), (GAP, GAP), (GAP, GAP)))) for one in pictures]
    sheet = np.concatenate(list(np.concatenate(shade, axis=2)), axis=0).astype(np.uint8)
    _save(Image.fromarray(sheet.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)), path)


def _save(image: Image.Image, path: Path) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}", "Choose a folder you may write") from None
