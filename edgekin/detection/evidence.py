"""What one picture says about deviations of a body, in numpy: `whiten` is the twin of engines/inspect/evidence.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekin.runtime.inspector_config import Hypothesis

Float = NDArray[np.float64]


def whiten(information: Float, score: Float, spread: Float, noise: float) -> tuple[Float, Float]:
    """Return what pictures really say, when a self-model's own error is a deviation, too.

    d_hat = A^-1 b scatters with the covariance noise A^-1 + diag(spread^2), so its information is the inverse of that.

    Args:
        information: A, (N, n, n).
        score: b, (N, n).
        spread: (n,) or (N, n) rad or share.
        noise: of squared residuals.
    Returns:
        information (N, n, n) and score (N, n).
    """
    outer = spread[..., :, None] * spread[..., None, :]
    scaled = information * outer
    both = np.concatenate([scaled, (spread * score)[..., None]], axis=-1)
    solved = np.linalg.solve(noise * np.eye(scaled.shape[-1]) + scaled, both)
    return solved[..., :-1] / outer, solved[..., -1] / spread


def ratios(information: Float, score: Float, hypotheses: Sequence[Hypothesis], prior: Float) -> Float:
    """Return the generalised likelihood ratio (N, H) of each hypothesis, nats, less half its free numbers.

    Args:
        information: whitened, (N, n, n).
        score: whitened, (N, n).
        hypotheses: H of them.
        prior: (n,) standard deviation of each deviation.
    """
    out = np.empty((len(score), len(hypotheses)))
    for column, hypothesis in enumerate(hypotheses):
        free = list(hypothesis.deviations)
        part = information[:, free][:, :, free] + np.diag(1 / np.square(prior[free]))
        best = np.linalg.solve(part, score[:, free, None])[..., 0]
        out[:, column] = 0.5 * np.sum(score[:, free] * best, axis=1) - 0.5 * len(free)
    return out
