import tracemalloc

import array_api_strict as standard
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solq_maskcodec.codecs import pca_fit
from solq_maskcodec.codecs.log_odds import log_odds
from solq_maskcodec.codecs.pca_fit import principal_components


def by_svd(masks, num_coefficients, logit):
    """The definition: right singular vectors and squared singular values of centred rows."""
    rows = masks.reshape(len(masks), -1).astype(np.float64)
    rows = log_odds(rows) if logit else rows
    _, singular, directions = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    variance = singular**2 / (len(masks) - 1)
    return directions[:num_coefficients], rows.mean(0), variance[:num_coefficients]


# More masks than pixels, fewer, and as many.
@pytest.mark.parametrize(("count", "size"), [(300, 8), (40, 12), (64, 8)])
@pytest.mark.parametrize("logit", [False, True])
def test_components_are_the_singular_vectors_of_the_centred_masks(blobs, count, size, logit):
    masks = blobs(count, size)
    found = principal_components(masks, 12, logit=logit)
    components, mean, variance = by_svd(masks, 12, logit)
    np.testing.assert_allclose(found.mean, mean, atol=1e-12)
    np.testing.assert_allclose(found.explained_variance, variance, rtol=1e-9)
    np.testing.assert_allclose(np.abs(found.components @ components.T), np.eye(12), atol=1e-6)
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(12), atol=1e-12)


@pytest.mark.parametrize("count", [300, 40])
def test_masks_go_through_in_blocks_of_any_size(blobs, count, monkeypatch):
    masks = blobs(count, 8)
    whole = principal_components(masks, 9, logit=True)
    for pixels in (1, 7 * 64, 2**30):
        monkeypatch.setattr(pca_fit, "_PIXELS_PER_BLOCK", pixels)
        for expected, values in zip(whole, principal_components(masks, 9, logit=True), strict=True):
            np.testing.assert_allclose(values, expected, atol=1e-9)


@pytest.mark.parametrize("count", [300, 40])
def test_the_same_masks_give_the_same_bits_and_other_orders_the_same_numbers(blobs, count):
    masks = blobs(count, 8)
    first = principal_components(masks, 9, logit=True)
    for values, again in zip(first, principal_components(masks, 9, logit=True), strict=True):
        assert values.tobytes() == again.tobytes()
    shuffled = masks[np.random.default_rng(0).permutation(count)]
    for values, other in zip(first, principal_components(shuffled, 9, logit=True), strict=True):
        np.testing.assert_allclose(other, values, atol=1e-9)


@pytest.mark.parametrize("count", [100, 20])
def test_signs_do_not_change_where_masks_are_symmetric(blobs, count):
    masks = blobs(count, 8)
    both = np.concatenate([masks, masks[..., ::-1]])
    shuffled = np.concatenate([masks[::-1, :, ::-1], masks[::-1]])
    found = principal_components(both, 6, logit=False).components
    other = principal_components(shuffled, 6, logit=False).components
    np.testing.assert_allclose(other, found, atol=1e-8)


@given(st.integers(0, 2**32 - 1))
def test_the_largest_loading_of_each_component_is_positive(seed):
    masks = np.random.default_rng(seed).random((30, 4, 4)) > 0.5
    components = principal_components(masks, 5, logit=False).components
    assert (components.max(1) >= -components.min(1) * (1 - 1e-6)).all()


def test_log_odds_scale_the_variance_of_binary_masks_and_nothing_else(blobs):
    masks = blobs(200, 8)
    plain = principal_components(masks, 9, logit=False)
    odds = principal_components(masks, 9, logit=True)
    np.testing.assert_allclose(odds.components, plain.components, atol=1e-9)
    scale = 2 * log_odds(np.ones(1))[0]
    np.testing.assert_allclose(odds.explained_variance, plain.explained_variance * scale**2)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_any_dtype_and_any_library_is_fitted_alike(blobs, dtype):
    masks = blobs(80, 8)
    expected = principal_components(masks, 5, logit=False)
    given = masks.astype(dtype)
    others = [] if dtype == np.float16 else [standard.asarray(given)]
    for same in (given, torch.from_numpy(given), *others):
        for values, other in zip(expected, principal_components(same, 5, logit=False), strict=True):
            assert values.tobytes() == other.tobytes()


def test_memory_does_not_grow_with_the_masks(blobs):
    peaks = []
    for count in (6000, 18000):
        masks = np.tile(blobs(500, 28), (count // 500, 1, 1))
        tracemalloc.start()
        principal_components(masks, 10, logit=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


def test_more_coefficients_than_directions_are_refused():
    masks = np.zeros((10, 4, 4), bool)
    masks[::2, 0, 0] = True
    masks[::3, 1, 1] = True
    assert len(principal_components(masks, 2, logit=True).components) == 2
    message = "vary, 2 for 10 masks of 16 pixels, got 3"
    with pytest.raises(ValueError, match=message):
        principal_components(masks, 3, logit=True)
    with pytest.raises(ValueError, match="0 for 10 masks of 16 pixels, got 1"):
        principal_components(np.ones((10, 4, 4)), 1, logit=True)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_the_mask_that_is_not_finite_is_named(broken):
    masks = np.zeros((10, 4, 4))
    masks[7, 2, 2] = broken
    with pytest.raises(ValueError, match="masks must be finite, got NaN or infinity at index 7"):
        principal_components(masks, 1, logit=True)
