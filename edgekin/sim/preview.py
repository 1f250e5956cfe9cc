"""A contact sheet of a dataset's masks, to look at before training on them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from edgekin.errors import DataError, MissingExtra
from edgekin.output import write_atomic
from edgekin.sim.dataset import Dataset, take

COLUMNS, ROWS, GAP = 8, 6, 2


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
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}", "Choose a folder you may write") from None
