import math

import numpy as np
import pytest
import torch

from solq_maskcodec.codecs.log_odds import LEAST_VALUE, from_log_odds, log_odds


def test_worked_numbers():
    np.testing.assert_allclose(log_odds(np.array([0.5, 0.8])), [0, math.log(4)])
    np.testing.assert_allclose(from_log_odds(np.array([0, math.log(4)])), [0.5, 0.8])


def test_what_lies_outside_counts_as_the_least_and_the_largest_value():
    odds = log_odds(np.array([-1.0, 0.0, LEAST_VALUE, 1.0, 9.0]))
    largest = math.log(0.97 / 0.03)
    np.testing.assert_allclose(odds, [-largest, -largest, -largest, largest, largest])


def test_one_undoes_the_other_in_float32_too():
    values = np.linspace(0.03, 0.97, 50, dtype=np.float32)
    back = from_log_odds(log_odds(values))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, values, atol=2e-7)


@pytest.mark.parametrize("odds", [-1e30, -100.0, 0.0, 100.0, 1e30])
def test_values_and_gradients_far_out_are_finite(odds):
    tensor = torch.tensor(odds, requires_grad=True)
    value = from_log_odds(tensor)
    value.backward()
    assert 0 <= value.item() <= 1
    assert torch.isfinite(tensor.grad)


def test_nan_stays_nan():
    assert np.isnan(log_odds(np.array([np.nan]))).all()
    assert np.isnan(from_log_odds(np.array([np.nan]))).all()
