"""Symmetric int8: q = clip(rint(x / scale), -127, 127) and x' = q * scale, with zero-point 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: The largest code. -128 never occurs (docs/formats.md), so that the range is symmetric.
Q_MAX = 127

#: A tensor that is zero on every calibration sample still needs a scale; this one maps it to zero.
MIN_SCALE = 1e-8


def scale_for(threshold: ArrayLike) -> NDArray[np.float64]:
    """Return the scale that maps [-threshold, threshold] onto [-127, 127].

    Args:
        threshold: any shape, >= 0, in the unit of the tensor.

    Returns:
        The same shape, float64, at least MIN_SCALE.
    """
    scale: NDArray[np.float64] = np.maximum(np.asarray(threshold, np.float64) / Q_MAX, MIN_SCALE)
    return scale


def quantize(x: ArrayLike, scale: ArrayLike) -> NDArray[np.int8]:
    """Return the int8 codes of a tensor, rounding half to even.

    Args:
        x: any shape, finite.
        scale: broadcastable to x, > 0.
    """
    ratio = np.asarray(x, np.float64) / np.asarray(scale, np.float64)
    codes: NDArray[np.int8] = np.clip(np.rint(ratio), -Q_MAX, Q_MAX).astype(np.int8)
    return codes


def dequantize(q: ArrayLike, scale: ArrayLike) -> NDArray[np.float64]:
    """Return the values that int8 codes stand for; |x - dequantize(quantize(x))| <= scale / 2 within +-127 scale."""
    values: NDArray[np.float64] = np.asarray(q, np.float64) * np.asarray(scale, np.float64)
    return values


def channel_scales(weight: ArrayLike, axis: int | None) -> NDArray[np.float64]:
    """Return the weight scales: one for each index of the axis, or a single one where axis is None.

    Args:
        weight: at least one axis.
        axis: the output-channel axis (0 for linear and conv, 1 for transposed convolutions), or None.

    Returns:
        (weight.shape[axis],) or ().
    """
    magnitude = np.abs(np.asarray(weight, np.float64))
    if axis is None:
        return scale_for(magnitude.max(initial=0.0))
    others = tuple(i for i in range(magnitude.ndim) if i != axis)
    return scale_for(magnitude.max(axis=others, initial=0.0))
