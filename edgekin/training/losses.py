"""What training minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: Targets are kept this far from 0 and 1: the best logit is then +-9.2, which int8 resolves to better than 0.1
#: and which keeps the likelihood of a stray pixel finite for the detector.
SMOOTHING = 1e-4


def silhouette_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the mean binary cross-entropy in nats per pixel.

    Args:
        logits: (B, V, H, W) log-odds.
        mask: (B, V, H, W) float32, 0 or 1.
    """
    from torch.nn import functional

    target = mask.clamp(SMOOTHING, 1.0 - SMOOTHING)
    return functional.binary_cross_entropy_with_logits(logits, target)
