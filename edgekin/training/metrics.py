"""How good a predicted silhouette is: PSNR and IoU, means over images. Numpy only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import DataError

Images = NDArray[Any]

#: Keeps a perfect image finite (80 dB). Source: the published score, -10 log10(MSE + 1e-8).
EPSILON = 1e-8


@dataclass(frozen=True)
class Score:
    """The means over a set of images."""

    psnr_db: float  # mean of -10 log10(MSE + 1e-8), soft prediction against binary mask
    iou: float  # mean of intersection / union at probability 0.5; 1 where both are empty
    depth_mae_m: float | None = None  # mean absolute error over all robot pixels; None where there is no depth

    def to_json(self) -> dict[str, float]:
        """JSON-ready; without depth where there is none."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _flat(images: Images) -> Images:
    return images.reshape(len(images), -1)


def psnr_db(prediction: Images, mask: Images) -> NDArray[np.float64]:
    """Return the PSNR of every image: -10 log10(mean((p - y)^2) + 1e-8).

    Args:
        prediction: (N, ...) probabilities.
        mask: (N, ...) bool, the same shape.

    Returns:
        (N,) dB.

    Raises:
        DataError: the shapes differ.
    """
    if prediction.shape != mask.shape:
        raise DataError(f"prediction {prediction.shape} and masks {mask.shape} differ in shape",
                        "Use data of the robot and cameras that the model was trained on")
    difference = _flat(prediction).astype(np.float32) - _flat(mask).astype(np.float32)
    mse = np.mean(np.square(difference), axis=1, dtype=np.float64)
    return np.asarray(-10.0 * np.log10(mse + EPSILON), dtype=np.float64)


def iou(prediction: Images, mask: Images) -> NDArray[np.float64]:
    """Return |p > 0.5 and y| / |p > 0.5 or y| of every image, 1 where both are empty.

    Args:
        prediction: (N, ...) probabilities.
        mask: (N, ...) bool, the same shape.

    Returns:
        (N,) in [0, 1].
    """
    p, y = _flat(prediction) > 0.5, _flat(mask).astype(bool)
    both, either = np.sum(p & y, axis=1), np.sum(p | y, axis=1)
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def depth_mae_m(prediction: Images, truth: Images) -> float | None:
    """Return the mean absolute error of depth over all robot pixels, m; None where no picture shows the robot.

    Args:
        prediction: (N, V, H, W) m.
        truth: (N, V, H, W) m, +inf off the robot.

    Raises:
        DataError: the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise DataError(f"predicted depth {prediction.shape} and depth {truth.shape} differ in shape",
                        "Use data of the robot and cameras that the model was trained on")
    seen = np.isfinite(truth)
    if not seen.any():
        return None
    return float(np.mean(np.abs(prediction[seen].astype(np.float64) - truth[seen])))


def score(prediction: Images, mask: Images) -> Score:
    """Return mean PSNR and mean IoU over the images (N, V, H, W); raises DataError for none or other shapes."""
    if len(mask) == 0:
        raise DataError("there are no test images to score on", "Give a dataset with at least one sample")
    return Score(float(np.mean(psnr_db(prediction, mask))), float(np.mean(iou(prediction, mask))))
