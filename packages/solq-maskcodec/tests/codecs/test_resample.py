import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from solq_maskcodec.codecs.resample import resampled


def values(size):
    return np.random.default_rng(size).random((3, size, size))


def test_a_coarser_grid_that_divides_has_the_means_of_blocks():
    coarse = resampled(values(12), 4)
    np.testing.assert_allclose(coarse, values(12).reshape(3, 4, 3, 4, 3).mean((2, 4)))


def test_another_coarser_grid_has_the_means_of_what_its_pixels_cover():
    row = np.array([0.0, 3.0, 9.0])
    # Each of two pixels covers one and a half of three.
    expected = [(0 + 3 / 2) / 1.5, (3 / 2 + 9) / 1.5]
    np.testing.assert_allclose(resampled(np.tile(row, (1, 3, 1)), 2)[0, 0], expected)


@pytest.mark.parametrize(("size", "new_size"), [(4, 5), (5, 13), (28, 128), (1, 7)])
def test_a_finer_grid_is_what_torch_interpolates(size, new_size):
    tensor = torch.from_numpy(values(size))
    expected = F.interpolate(tensor[None], size=new_size, mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(resampled(values(size), new_size), expected, atol=1e-12)
    torch.testing.assert_close(resampled(tensor, new_size), expected)


@given(st.integers(1, 20), st.integers(1, 20))
def test_constants_stay_what_they_are(size, new_size):
    constant = np.full((1, size, size), 0.7)
    np.testing.assert_allclose(resampled(constant, new_size), 0.7)


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_coarser_grid_keeps_the_mean(size, new_size):
    size, new_size = max(size, new_size), min(size, new_size)
    coarse = resampled(values(size), new_size)
    np.testing.assert_allclose(coarse.mean((1, 2)), values(size).mean((1, 2)))


def test_the_same_grid_is_the_same_array():
    same = values(6)
    assert resampled(same, 6) is same
