"""What training minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: Targets are kept this far from 0 and 1: the best logit is then +-9.2, which int8 resolves to better than 0.1
#: and which keeps the likelihood of a stray pixel finite for the detector.
SMOOTHING = 1e-4
#: Log-odds beyond the smoothed targets' 9.2, and hidden values a few times their usual size, buy nothing.
LOGIT_LIMIT, FEATURE_LIMIT = 10.0, 12.0
RANGE_WEIGHT = 1e-3
#: Of the mean of every hidden layer's values, in a distillation: what is zero, the int8 engines skip.
ACTIVITY_WEIGHT = 1e-3
#: Of the logarithm of a picture's squared error, which a mean of PSNRs is made of; beside the likelihood, which the
#: detector needs, it takes a fifteenth of a training's usual loss. The floor keeps a perfect picture from counting.
SQUARED_WEIGHT, SQUARED_FLOOR = 0.02, 1e-4
#: Of the depth loss beside the silhouettes': a metre of error on every robot pixel weighs as much as so many nats.
DEPTH_WEIGHT = 10.0


def silhouette_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the mean binary cross-entropy in nats per pixel.

    Args:
        logits: (B, V, H, W) log-odds.
        mask: (B, V, H, W) float32, 0 or 1.
    """
    from torch.nn import functional

    target = mask.clamp(SMOOTHING, 1.0 - SMOOTHING)
    return functional.binary_cross_entropy_with_logits(logits, target)


def depth_loss(depth: Tensor, truth: Tensor) -> Tensor:
    """Return DEPTH_WEIGHT times the absolute error on robot pixels, per pixel of the picture.

    Args:
        depth: (B, V, H, W) m.
        truth: (B, V, H, W) m, +inf off the robot: nothing is asked there.
    """
    seen = truth.isfinite()
    miss = (depth - truth.where(seen, depth.detach())).abs()
    return DEPTH_WEIGHT * (miss * seen).mean()


def squared_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the weighted mean over pictures of the logarithm of their squared error per pixel.

    Args:
        logits: (B, V, H, W) log-odds.
        mask: (B, V, H, W) float32, 0 to 1.
    """
    target = mask.clamp(SMOOTHING, 1.0 - SMOOTHING)
    squared = (logits.sigmoid() - target).square().mean(dim=(1, 2, 3))
    return SQUARED_WEIGHT * (squared + SQUARED_FLOOR).log().mean()


def range_penalty(logits: Tensor, features: list[Tensor], activity_weight: float = 0.0) -> Tensor:
    """Return what keeps the few largest values of a layer from spending int8's 255 steps.

    The mean square of what exceeds a limit, summed over logits and hidden layers. Without it single values reach thirty
    times the rest's root mean square; with it, int8 loses a quarter as many dB, at the same fidelity in float.

    Args:
        logits: (B, V, H, W) log-odds.
        features: outputs of the ReLUs, any shapes.
        activity_weight: of their means.
    """
    return RANGE_WEIGHT * (logits.abs() - LOGIT_LIMIT).relu().square().mean() + feature_penalty(
        features, activity_weight)


def feature_penalty(features: list[Tensor], activity_weight: float = 0.0) -> Tensor | float:
    """Return the part of the range penalty that the outputs of ReLUs make."""
    squares = [(values - FEATURE_LIMIT).relu().square().mean() for values in features]
    if not squares:
        return 0.0
    return RANGE_WEIGHT * sum(squares[1:], squares[0]) + activity_weight * sum(values.mean() for values in features)
