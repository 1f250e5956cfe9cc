"""A few test poses as every model sees them, small enough to lie in a JSON file."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekin.models.self_model import SelfModel
from edgekin.report.pictures import ENCODING, packed_picture
from edgekin.sim.dataset import Dataset
from edgekin.training.metrics import iou, psnr_db


def panels(models: dict[str, SelfModel], test: Dataset, count: int) -> dict[str, Any]:
    """Return truth and predictions of the first view for so many poses spread over the test split.

    Args:
        models: by name.
        test: poses and masks.
        count: of poses.

    Returns:
        JSON-ready: shape [H, W], encoding, indices and joint_pos (rad) of the poses, truth, and by model psnr_db, iou
        (of that view alone) and pictures.
    """
    index = np.linspace(0, len(test) - 1, min(count, len(test))).astype(np.int64)
    joint_pos, truth = test.joint_pos[index], test.masks[index, 0]
    found: dict[str, Any] = {}
    for name, model in models.items():
        seen = model.probabilities(joint_pos)[:, 0]
        found[name] = {"psnr_db": np.round(psnr_db(seen, truth), 3).tolist(),
                       "iou": np.round(iou(seen, truth), 4).tolist(), "pictures": [packed_picture(p) for p in seen]}
    return {"shape": list(truth.shape[1:]), "encoding": ENCODING, "index": index.tolist(),
            "joint_pos": np.round(joint_pos, 5).tolist(), "truth": [packed_picture(p) for p in truth], "models": found}
