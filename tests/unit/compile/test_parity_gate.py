"""The figures of the parity gate."""

import numpy as np
import pytest

from edgekin.compile.parity import compare


def test_a_product_that_equals_the_model_loses_nothing():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 2, 8, 8)).astype(np.float32)
    parity = compare(logits, logits, rng.random((5, 2, 8, 8)) > 0.5)
    assert parity.core() == {"psnr_loss_db": 0.0, "iou_vs_fp32": 1.0, "max_abs_error": 0.0}
    assert parity.n == 5


def test_loss_and_iou_by_hand():
    expected = np.array([20.0, 20.0, -20.0, -20.0], np.float32).reshape(1, 1, 2, 2)
    product = np.array([20.0, -20.0, -20.0, -20.0], np.float32).reshape(1, 1, 2, 2)
    parity = compare(expected, product, (expected > 0))
    assert parity.iou_vs_fp32 == 0.5
    assert parity.max_abs_error == pytest.approx(1.0)
    assert parity.psnr_db == pytest.approx(-10 * np.log10(0.25), abs=1e-3)
    assert parity.psnr_loss_db == pytest.approx(80.0 - parity.psnr_db, abs=1e-2)


def test_empty_predictions_agree():
    logits = np.full((1, 1, 2, 2), -5.0, np.float32)
    assert compare(logits, logits, np.zeros((1, 1, 2, 2), bool)).iou_vs_fp32 == 1.0
