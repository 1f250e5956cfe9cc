"""PSNR, IoU and the floors against values worked out by hand."""

import math

import numpy as np
import pytest

from edgekin.errors import DataError
from edgekin.sim.dataset import Dataset, pack_masks
from edgekin.training.floors import floors, nearest_index
from edgekin.training.metrics import iou, psnr_db, score


def dataset(joint_pos, masks):
    masks = np.asarray(masks, dtype=bool)[:, None]
    return Dataset(np.asarray(joint_pos, dtype=np.float64), pack_masks(masks), masks.shape[-1])


def test_psnr_is_taken_image_by_image():
    mask = np.zeros((2, 1, 1, 4), dtype=bool)
    mask[1, 0, 0, 0] = True
    prediction = np.zeros((2, 1, 1, 4), dtype=np.float32)
    prediction[0] = 0.1  # MSE 0.01: 20 dB; the second image: MSE 1/4
    np.testing.assert_allclose(psnr_db(prediction, mask), [20.0, -10 * math.log10(0.25)], atol=1e-4)
    np.testing.assert_allclose(psnr_db(mask, mask), 80.0)
    assert score(prediction, mask).psnr_db == pytest.approx((20.0 + 6.0206) / 2, abs=1e-3)


def test_iou_at_one_half_and_of_empty_images():
    mask = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    prediction = np.array([[0.6, 0.5, 0.9, 0.0], [0, 0, 0, 0], [0.7, 0, 0, 0]])
    np.testing.assert_allclose(iou(prediction, mask), [1 / 3, 1.0, 0.0])


def test_floors_match_what_a_hand_computes():
    train = dataset([[0.0], [1.0]], [[[1, 1, 0, 0]], [[0, 1, 1, 0]]])
    test = dataset([[0.1], [0.9]], [[[1, 1, 0, 0]], [[0, 0, 1, 1]]])
    found = floors(train, test)
    assert found["all_black"].psnr_db == pytest.approx(-10 * math.log10(0.5))
    assert found["all_black"].iou == 0.0
    # mean image (1/2, 1, 1/2, 0): squared errors 1/4 + 0 + 1/4 + 0 = 1/2, and 1/4 + 1 + 1/4 + 1 = 5/2, over 4 pixels
    assert found["mean_image"].psnr_db == pytest.approx(-5 * (math.log10(1 / 8) + math.log10(5 / 8)), abs=1e-5)
    assert found["mean_image"].iou == pytest.approx((1 / 2 + 0) / 2)
    # nearest: the first is exact (80 dB), the second differs in two of four pixels, and shares one of three
    assert found["nearest"].psnr_db == pytest.approx((80 - 10 * math.log10(0.5)) / 2, abs=1e-4)
    assert found["nearest"].iou == pytest.approx((1 + 1 / 3) / 2)


def test_the_nearest_pose_is_the_nearest():
    rng = np.random.default_rng(0)
    train, query = rng.normal(size=(300, 4)), rng.normal(size=(600, 4))
    expected = np.argmin(((query[:, None] - train[None]) ** 2).sum(axis=-1), axis=1)
    assert np.array_equal(nearest_index(train, query), expected)


def test_shapes_that_differ_and_empty_sets_are_refused():
    with pytest.raises(DataError, match="differ in shape"):
        psnr_db(np.zeros((1, 2, 2)), np.zeros((1, 2, 3), dtype=bool))
    with pytest.raises(DataError, match="no test images"):
        score(np.zeros((0, 2)), np.zeros((0, 2), dtype=bool))
