"""The parity gate: every product beside the FP32 torch model, on the test split."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.quantization.calibrate import sigmoid
from edgekin.training.metrics import iou, psnr_db

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Parity:
    """How far a product is from the FP32 torch model."""

    psnr_loss_db: float  # PSNR of the torch model minus PSNR of the product, both against the true masks
    iou_vs_fp32: float  # mean IoU of the two thresholded predictions
    max_abs_error: float  # largest difference of two probabilities
    psnr_db: float  # of the product
    psnr_fp32_db: float  # of the torch model
    n: int  # test samples
    depth_mae_m: float | None = None  # of the product on robot pixels, where it has a depth head
    depth_mae_fp32_m: float | None = None  # of the torch model

    def core(self) -> dict[str, float]:
        """Return the part that the JSON calls parity."""
        names = ("psnr_loss_db", "iou_vs_fp32", "max_abs_error", "depth_mae_m", "depth_mae_fp32_m")
        return {key: value for key in names if (value := asdict(self)[key]) is not None}

    @property
    def depth_loss_m(self) -> float:
        """How much farther from the truth the product's depth is than the torch model's, m; 0 without depth."""
        if self.depth_mae_m is None or self.depth_mae_fp32_m is None:
            return 0.0
        return self.depth_mae_m - self.depth_mae_fp32_m


def compare(expected: Logits, logits: Logits, masks: NDArray[np.bool_]) -> Parity:
    """Compare a product's logits with those of the torch model.

    Args:
        expected: (N, V, H, W) logits of the torch model in FP32.
        logits: (N, V, H, W) logits of the product.
        masks: (N, V, H, W) the truth.
    """
    p, q = sigmoid(expected), sigmoid(logits)
    before, after = (float(psnr_db(probability, masks).mean()) for probability in (p, q))
    return Parity(before - after, float(iou(q, p > 0.5).mean()), float(np.abs(p - q).max()), after, before, len(masks))
