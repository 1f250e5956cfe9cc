"""The scores that need no model: all black, the mean training image, the nearest training pose. Numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekin.sim.dataset import Dataset
from edgekin.training.metrics import Score, depth_mae_m, iou, psnr_db

#: Images held unpacked at once: bounds the memory.
CHUNK = 256


def nearest_index(train: NDArray[np.float64], query: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for every query pose the training pose at the least Euclidean distance in joint space.

    Args:
        train: (N, J) rad.
        query: (M, J) rad.

    Returns:
        (M,) indices into train.
    """
    squares = np.sum(train**2, axis=1)
    parts = [np.argmin(squares - 2.0 * (q @ train.T), axis=1)
             for q in np.split(query, range(CHUNK, len(query), CHUNK))]
    return np.concatenate(parts).astype(np.int64)


def mean_image(train: Dataset) -> NDArray[np.float32]:
    """Return the share of training images in which a pixel shows the robot, (V, H, W) float32."""
    total = np.zeros((*train.packed.shape[1:3], train.width), dtype=np.float64)
    for start in range(0, len(train), CHUNK):
        total += _unpack(train, np.arange(start, min(start + CHUNK, len(train)))).sum(axis=0)
    return (total / len(train)).astype(np.float32)


def _unpack(data: Dataset, index: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.unpackbits(data.packed[index], axis=-1, count=data.width).astype(np.bool_)


def mean_depth(train: Dataset) -> NDArray[np.float32]:
    """Return the mean depth of each pixel over the training pictures that show robot there, (V, H, W) float32 m.

    A pixel that never shows it has the mean of all that do.
    """
    assert train.depth is not None
    total, times = np.zeros(train.depth.shape[1:]), np.zeros(train.depth.shape[1:], np.int64)
    for start in range(0, len(train), CHUNK):
        part = train.depth[start : start + CHUNK]
        seen = np.isfinite(part)
        total += np.where(seen, part, 0).sum(axis=0)
        times += seen.sum(axis=0)
    usual = total.sum() / max(1, times.sum())
    return np.where(times > 0, total / np.maximum(times, 1), usual).astype(np.float32)


def _depth_floors(train: Dataset, test: Dataset, nearest: NDArray[np.int64]) -> dict[str, float | None]:
    """Depth error of the mean picture, and of the nearest training pose filled up with it where it shows no robot."""
    if train.depth is None or test.depth is None:
        return {}
    mean, found = mean_depth(train), train.depth[nearest]
    return {"mean_image": depth_mae_m(np.broadcast_to(mean, test.depth.shape), test.depth),
            "nearest": depth_mae_m(np.where(np.isfinite(found), found, mean), test.depth)}


def floors(train: Dataset, test: Dataset) -> dict[str, Score]:
    """Return the floors of a split.

    Args:
        train: the samples that a floor may look at.
        test: the samples that it is scored on.

    Returns:
        `all_black`, `mean_image` and `nearest`, each a Score.
    """
    mean, nearest = mean_image(train), nearest_index(train.inputs, test.inputs)
    parts: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    for start in range(0, len(test), CHUNK):
        index = np.arange(start, min(start + CHUNK, len(test)))
        mask = _unpack(test, index)
        guesses = {"all_black": np.zeros(mask.shape, np.float32), "mean_image": np.broadcast_to(mean, mask.shape),
                   "nearest": _unpack(train, nearest[index])}
        for name, guess in guesses.items():
            parts.setdefault(name, []).append((psnr_db(guess, mask), iou(guess, mask)))
    depth = _depth_floors(train, test, nearest)
    return {name: Score(float(np.mean(np.concatenate([p for p, _ in both]))),
                        float(np.mean(np.concatenate([i for _, i in both]))), depth.get(name))
            for name, both in parts.items()}
