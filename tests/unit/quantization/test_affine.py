"""The affine quantizer: its error, its range, its channels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekin.quantization.affine import MIN_SCALE, channel_scales, dequantize, quantize, scale_for


@given(st.floats(1e-6, 1e6), hnp.arrays(np.float64, st.integers(1, 50), elements=st.floats(-1.0, 1.0)))
def test_the_error_within_the_range_is_at_most_half_a_scale(threshold, unit):
    x = unit * threshold
    scale = float(scale_for(threshold))
    error = np.abs(dequantize(quantize(x, scale), scale) - x)
    assert np.all(error <= scale / 2 * (1 + 1e-9))


@given(hnp.arrays(np.float64, 20, elements=st.floats(-1e9, 1e9)))
def test_codes_are_symmetric_and_never_minus_128(x):
    assert np.array_equal(quantize(-x, 0.5), -quantize(x, 0.5))
    assert quantize(x, 0.5).min() >= -127


def test_rounding_is_half_to_even():
    assert quantize([0.5, 1.5, 2.5, -0.5, -1.5], 1.0).tolist() == [0, 2, 2, 0, -2]


def test_beyond_the_range_values_saturate():
    assert quantize([1e9, -1e9], 1.0).tolist() == [127, -127]


def test_channel_scales_follow_the_axis():
    weight = np.array([[1.0, -127.0], [254.0, 0.0]])
    assert channel_scales(weight, 0).tolist() == [1.0, 2.0]
    assert channel_scales(weight, 1).tolist() == [2.0, 1.0]
    assert float(channel_scales(weight, None)) == 2.0


def test_a_tensor_of_zeros_gets_a_usable_scale():
    scale = float(channel_scales(np.zeros((3, 3)), None))
    assert scale == pytest.approx(MIN_SCALE)
    assert quantize(0.0, scale) == 0
