import copy
import dataclasses
import math
import pickle
import re

import array_api_strict as standard
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from solq_maskcodec.codecs.dct_codec import DCTMaskCodec
from solq_maskcodec.codecs.pca_codec import PCAMaskCodec
from solq_maskcodec.image.frames import paste_masks
from solq_maskcodec.image.rle import masks_to_rle
from solq_maskcodec.overlap import intersection_over_union
from solq_maskcodec.protocol import MaskCodec

# Two kinds of masks of 2x2, each of them twice: they differ along (1, 0, 0, -1).
_FOUR_MASKS = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]]] * 2, bool)

_FLAGS = [(whiten, logit) for whiten in (False, True) for logit in (False, True)]


def random_codec(seed=0, num_coefficients=5, size=6, **settings):
    rng = np.random.default_rng(seed)
    components = np.linalg.qr(rng.standard_normal((size**2, num_coefficients))).Q.T
    variance = np.sort(rng.random(num_coefficients))[::-1] + 0.1
    return PCAMaskCodec(components, rng.random(size**2), variance, **settings)


@pytest.fixture(scope="module")
def fitted(blobs):
    """A codec of 20 coefficients and 300 masks that it has not seen, of 16x16."""
    return PCAMaskCodec.fit(blobs(900, 16), 20), blobs(300, 16, seed=1)


def test_a_codec_is_a_mask_codec():
    codec = random_codec()
    assert isinstance(codec, MaskCodec)
    assert (codec.num_coefficients, codec.mask_size) == (5, 6)


@pytest.mark.parametrize(
    ("whiten", "logit", "variance", "number"),
    [
        # (1, 0, 0, 0) - (1/2, 0, 0, 1/2) along (1, 0, 0, -1) / √2; variance 4 * (1/2) / 3.
        (False, False, 2 / 3, 1 / math.sqrt(2)),
        (True, False, 2 / 3, math.sqrt(3) / 2),
        # Log-odds of 0.03 and 0.97 lie 2 log(97/3) apart in place of 1.
        (False, True, 2 / 3 * (2 * math.log(97 / 3)) ** 2, math.sqrt(2) * math.log(97 / 3)),
        (True, True, 2 / 3 * (2 * math.log(97 / 3)) ** 2, math.sqrt(3) / 2),
    ],
)
def test_a_worked_example(whiten, logit, variance, number):
    codec = PCAMaskCodec.fit(_FOUR_MASKS, 1, whiten=whiten, logit=logit)
    half = math.sqrt(0.5)
    np.testing.assert_allclose(codec.components, [[half, 0, 0, -half]], atol=1e-12)
    np.testing.assert_allclose(codec.explained_variance, [variance])
    vectors = codec.encode(_FOUR_MASKS.astype(np.float64))
    np.testing.assert_allclose(vectors, [[number], [-number]] * 2)
    values = codec.decode(vectors, threshold=None)
    least = 0.03 if logit else 0
    np.testing.assert_allclose(values, np.clip(_FOUR_MASKS, least, 1 - least), atol=1e-12)
    np.testing.assert_array_equal(codec.decode(vectors), _FOUR_MASKS)


@given(st.integers(0, 2**32 - 1), st.sampled_from(_FLAGS))
def test_vectors_and_values_follow_the_formulas(seed, flags):
    whiten, logit = flags
    codec = random_codec(seed, whiten=whiten, logit=logit)
    masks = np.random.default_rng(seed).random((4, 6, 6))
    pixels = np.clip(masks, 0.03, 0.97) if logit else masks
    pixels = (np.log(pixels / (1 - pixels)) if logit else pixels).reshape(4, 36)
    scale = np.sqrt(codec.explained_variance) if whiten else 1
    expected = (pixels - codec.mean) @ codec.components.T / scale
    vectors = codec.encode(masks)
    np.testing.assert_allclose(vectors, expected, atol=1e-12)
    values = (expected * scale) @ codec.components + codec.mean
    values = 1 / (1 + np.exp(-values)) if logit else values
    decoded = codec.decode(vectors, threshold=None)
    np.testing.assert_allclose(decoded, values.reshape(4, 6, 6), atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_encode_after_soft_decode_changes_no_vector(seed, whiten):
    codec = random_codec(seed, whiten=whiten, logit=False)
    vectors = np.random.default_rng(seed).standard_normal((3, 5))
    values = codec.decode(vectors, threshold=None)
    np.testing.assert_allclose(codec.encode(values), vectors, atol=1e-10)


@pytest.mark.parametrize(("whiten", "logit"), _FLAGS)
def test_all_directions_give_the_masks_back(blobs, whiten, logit):
    masks = blobs(30, 8)
    codec = PCAMaskCodec.fit(masks, 29, whiten=whiten, logit=logit)
    np.testing.assert_array_equal(codec.decode(codec.encode(masks)), masks)


def test_decoded_masks_are_the_same_whitened_or_not_and_as_log_odds_or_not(blobs):
    masks, others = blobs(300, 8), blobs(100, 8, seed=1).astype(np.float64)
    codecs = [PCAMaskCodec.fit(masks, 9, whiten=a, logit=b) for a, b in _FLAGS]
    first, *rest = [codec.decode(codec.encode(others)) for codec in codecs]
    for decoded in rest:
        np.testing.assert_array_equal(decoded, first)


def test_whitened_vectors_of_the_fitted_masks_have_mean_0_and_variance_1(blobs):
    masks = blobs(300, 8).astype(np.float64)
    vectors = PCAMaskCodec.fit(masks, 9).encode(masks)
    np.testing.assert_allclose(vectors.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(np.cov(vectors.T), np.eye(9), atol=1e-9)


def test_two_fits_are_equal_and_encode_gives_the_same_vector_twice(blobs):
    masks = blobs(100, 8)
    codec = PCAMaskCodec.fit(masks, 9)
    assert PCAMaskCodec.fit(masks, 9) == codec
    assert codec.encode(masks).tobytes() == codec.encode(masks).tobytes()


def test_a_shorter_codec_is_the_first_part_of_a_longer_one(blobs):
    masks = blobs(100, 8)
    long = PCAMaskCodec.fit(masks, 9)
    short = dataclasses.replace(
        long, components=long.components[:4], explained_variance=long.explained_variance[:4]
    )
    assert short == PCAMaskCodec.fit(masks, 4)
    np.testing.assert_allclose(short.encode(masks), long.encode(masks)[:, :4], atol=1e-5)


def test_few_coefficients_keep_more_than_those_of_the_dct(real_masks):
    fitted_to, others = real_masks[::2, ::4, ::4], real_masks[1::2, ::4, ::4]
    pca = PCAMaskCodec.fit(np.concatenate([fitted_to, fitted_to[..., ::-1]]), 16)
    dct = DCTMaskCodec(16, 32, threshold=0.5)
    kept, others_kept = (
        intersection_over_union(codec.decode(codec.encode(others)), others).mean()
        for codec in (pca, dct)
    )
    assert kept > others_kept + 0.01
    assert kept > 0.84


@pytest.mark.parametrize("leading", [(), (0,), (3,), (2, 4), (2, 0)])
def test_any_leading_shape(leading):
    codec = random_codec()
    vectors = codec.encode(np.ones((*leading, 6, 6), bool))
    assert vectors.shape == (*leading, 5)
    assert codec.decode(vectors).shape == (*leading, 6, 6)
    assert codec.decode(vectors, threshold=None, size=9).shape == (*leading, 9, 9)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.float16, np.float32, np.float64])
def test_vectors_are_float32_or_float64_for_float64(fitted, dtype):
    codec, masks = fitted
    vectors = codec.encode(masks.astype(dtype))
    assert vectors.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_allclose(vectors, codec.encode(masks.astype(np.float64)), atol=2e-5)
    values = codec.decode(vectors, threshold=None)
    assert values.dtype == vectors.dtype
    assert codec.decode(vectors).dtype == np.bool_


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
@pytest.mark.parametrize("size", [None, 8, 20])
def test_torch_gives_what_numpy_gives(fitted, dtype, size):
    codec, masks = fitted
    wide = dtype == torch.float64
    vectors = codec.encode(torch.from_numpy(masks).to(dtype))
    assert vectors.dtype == (torch.float64 if wide else torch.float32)
    expected = codec.encode(masks.astype(np.float64 if wide else np.float32))
    np.testing.assert_allclose(vectors.numpy(), expected, atol=1e-12 if wide else 2e-5)
    values = codec.decode(vectors, threshold=None, size=size)
    expected = codec.decode(vectors.numpy(), threshold=None, size=size)
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-12 if wide else 1e-5)
    np.testing.assert_array_equal(codec.decode(vectors, size=size), values >= 0.5)


@pytest.mark.parametrize(("whiten", "logit"), _FLAGS)
@pytest.mark.parametrize("size", [None, 3, 9])
def test_gradients_are_right(whiten, logit, size):
    codec = random_codec(whiten=whiten, logit=logit)
    generator = torch.Generator().manual_seed(0)
    # Between the ends of the log-odds, where encode has a slope.
    masks = torch.rand((2, 6, 6), generator=generator, dtype=torch.float64) * 0.8 + 0.1
    vectors = torch.randn((2, 5), generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(codec.encode, masks.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda v: codec.decode(v, threshold=None, size=size), vectors.requires_grad_()
    )


@pytest.mark.parametrize("size", [None, 8, 20])
@pytest.mark.parametrize("dtype", ["bool", "float32", "float64"])
def test_arrays_of_the_standard_give_what_numpy_gives(fitted, dtype, size):
    codec, masks = fitted
    given = masks.astype(dtype)
    vectors = codec.encode(standard.asarray(given))
    np.testing.assert_allclose(np.asarray(vectors), codec.encode(given), atol=1e-6)
    values = codec.decode(vectors, threshold=None, size=size)
    expected = codec.decode(codec.encode(given), threshold=None, size=size)
    np.testing.assert_allclose(np.asarray(values), expected, atol=1e-6)
    decoded = codec.decode(vectors, threshold=0.5, size=size)
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(values) >= 0.5)


def test_autocast_changes_nothing(fitted):
    codec, masks = fitted
    tensors = torch.from_numpy(masks)
    with torch.autocast("cpu", torch.bfloat16):
        vectors = codec.encode(tensors)
        values = codec.decode(vectors, threshold=None)
    torch.testing.assert_close(vectors, codec.encode(tensors), rtol=0, atol=0)
    torch.testing.assert_close(values, codec.decode(vectors, threshold=None), rtol=0, atol=0)


def test_a_codec_first_used_under_inference_mode_trains_after():
    codec = random_codec()
    with torch.inference_mode():
        codec.decode(torch.zeros(2, 5))
    vectors = torch.zeros(2, 5, requires_grad=True)
    codec.decode(vectors, threshold=None).sum().backward()
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize("count", [257, 1])
def test_a_batch_gives_what_its_members_give(blobs, count):
    codec = random_codec(size=64)
    masks = blobs(count, 64)
    vectors = codec.encode(masks)
    alone = np.stack([codec.encode(mask) for mask in masks])
    np.testing.assert_allclose(vectors, alone, atol=1e-4)
    values = codec.decode(vectors, threshold=None)
    alone = np.stack([codec.decode(vector, threshold=None) for vector in vectors])
    np.testing.assert_allclose(values, alone, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_coarser_grid_that_divides_pools_the_values(fitted, size):
    codec, masks = fitted
    vectors = torch.from_numpy(codec.encode(masks))
    values = codec.decode(vectors, threshold=None)
    pooled = F.adaptive_avg_pool2d(values, size)
    torch.testing.assert_close(codec.decode(vectors, threshold=None, size=size), pooled)


def test_a_finer_grid_interpolates_the_values_before_the_threshold(fitted):
    codec, masks = fitted
    vectors = torch.from_numpy(codec.encode(masks))
    values = codec.decode(vectors, threshold=None)[None]
    finer = F.interpolate(values, size=40, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(codec.decode(vectors, threshold=None, size=40), finer)
    assert (codec.decode(vectors, size=40) != (finer >= 0.5)).float().mean() < 1e-5


def test_the_codecs_own_threshold_can_be_overridden(fitted):
    codec, masks = fitted
    vectors = codec.encode(masks)
    values = codec.decode(vectors, threshold=None)
    for threshold in (0.3, 1, "isodata", "midrange", None):
        own = dataclasses.replace(codec, threshold=threshold)
        np.testing.assert_array_equal(own.decode(vectors), codec.decode(vectors, threshold))
        np.testing.assert_array_equal(own.decode(vectors, 0.5), values >= 0.5)
    np.testing.assert_array_equal(codec.decode(vectors, 0.3), values >= np.float32(0.3))


def test_rles_are_those_of_pasted_masks(fitted):
    codec, masks = fitted
    rng = np.random.default_rng(0)
    corners = rng.uniform(-20, 90, (100, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 60, (100, 2))], axis=1)
    vectors = codec.encode(masks[:100])
    expected = masks_to_rle(paste_masks(codec.decode(vectors), boxes, (70, 50)))
    assert codec.decode_to_rle(vectors, boxes, (70, 50)) == expected


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("logit", [False, True])
def test_a_broken_vector_harms_no_other(broken, logit):
    codec = random_codec(logit=logit)
    vectors = np.zeros((2, 5), np.float32)
    vectors[0, 3] = broken
    values, expected = codec.decode(vectors, threshold=None), codec.decode(vectors[1], None)
    np.testing.assert_allclose(values[1], expected, atol=1e-6)
    if np.isnan(broken):
        assert np.isnan(values[0]).all()
        assert not codec.decode(vectors)[0].any()


def test_codecs_that_hold_the_same_are_equal():
    codec = random_codec()
    assert codec == random_codec()
    assert codec != "PCA"
    others = [
        random_codec(1),
        random_codec(whiten=False),
        random_codec(logit=False),
        random_codec(threshold=0.4),
        random_codec(threshold=None),
        random_codec(num_coefficients=4),
    ]
    assert len({codec, random_codec(), *others}) == 7


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_a_used_codec_is_copied_and_pickled_as_it_is(copied):
    codec = random_codec(whiten=False, threshold="isodata")
    fresh = len(pickle.dumps(codec))
    vectors = codec.encode(np.ones((2, 6, 6), bool))
    again = copied(codec)
    assert again == codec
    assert hash(again) == hash(codec)
    assert len(pickle.dumps(codec)) == fresh
    np.testing.assert_array_equal(again.decode(vectors), codec.decode(vectors))


def test_a_codec_cannot_be_changed_and_does_not_follow_its_arrays():
    components, mean, variance = np.eye(4)[:2], np.zeros(4), np.ones(2)
    codec = PCAMaskCodec(components, mean, variance)
    mean[:] = 7
    np.testing.assert_array_equal(codec.mean, np.zeros(4))
    with pytest.raises(ValueError, match="read-only"):
        codec.mean[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        codec.whiten = False


def test_a_codec_says_what_it_is():
    assert repr(random_codec()) == (
        "PCAMaskCodec(num_coefficients=5, mask_size=6, whiten=True, logit=True, threshold=0.5)"
    )


def parameters(**changes):
    given = {"components": np.eye(4)[:2], "mean": np.zeros(4), "explained_variance": np.ones(2)}
    return PCAMaskCodec(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": np.zeros(5)}, "[coefficients], got shapes (2, 4), (5,), (2,)"),
        ({"mean": np.zeros((2, 2))}, "got shapes (2, 4), (2, 2), (2,)"),
        ({"explained_variance": np.ones(3)}, "got shapes (2, 4), (4,), (3,)"),
        ({"components": np.eye(3)[:2], "mean": np.zeros(3)}, "got shapes (2, 3), (3,), (2,)"),
        ({"components": np.zeros((0, 4)), "explained_variance": np.ones(0)}, "got shapes (0, 4)"),
        ({"mean": np.full(4, np.inf)}, "mean must hold finite numbers, got NaN or infinity"),
        ({"mean": np.full(4, True)}, "mean must hold finite numbers, got dtype bool"),
        ({"explained_variance": np.zeros(2)}, "must be more than 0 to whiten by, got 0.0"),
        (
            {"explained_variance": np.array([1, -1]), "whiten": False},
            "explained_variance must be at least 0, got -1.0",
        ),
        ({"whiten": 1}, "whiten must be True or False, got 1"),
        ({"logit": None}, "logit must be True or False, got None"),
        ({"threshold": "otsu"}, '"isodata", "midrange", a number or None, got \'otsu\''),
        ({"threshold": np.nan}, "threshold must be a number or None, got nan"),
    ],
)
def test_parameters_that_are_no_codec_are_named(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parameters(**changes)


def test_a_variance_of_0_is_fine_where_nothing_is_divided_by_it():
    assert parameters(explained_variance=np.zeros(2), whiten=False).num_coefficients == 2


_CODEC = random_codec()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: _CODEC.encode(np.zeros((6, 7))),
            ValueError,
            "masks must be [..., 6, 6], got shape (6, 7)",
        ),
        (lambda: _CODEC.encode(np.zeros(6)), ValueError, "masks must be [..., 6, 6], got shape (6"),
        (lambda: _CODEC.encode([[0]]), TypeError, "masks must be"),
        (lambda: _CODEC.encode(np.zeros((6, 6), complex)), ValueError, "masks must hold bool"),
        (lambda: _CODEC.decode(np.zeros(4)), ValueError, "vectors must be [..., 5], got shape (4"),
        (lambda: _CODEC.decode(np.zeros(5), size=0), ValueError, "size must be a positive integer"),
        (lambda: _CODEC.decode(np.zeros(5), "otsu"), ValueError, "threshold must be"),
        (
            lambda: PCAMaskCodec.fit(np.zeros((3, 4, 5)), 1),
            ValueError,
            "masks must be [instances, size, size], got shape (3, 4, 5)",
        ),
        (lambda: PCAMaskCodec.fit(np.zeros((3, 0, 0)), 1), ValueError, "got shape (3, 0, 0)"),
        (lambda: PCAMaskCodec.fit(np.zeros((1, 4, 4)), 1), ValueError, "at least 2 to vary, got 1"),
        (lambda: PCAMaskCodec.fit(_FOUR_MASKS, 0), ValueError, "num_coefficients must be a posit"),
        (lambda: PCAMaskCodec.fit(_FOUR_MASKS, 2), ValueError, "1 for 4 masks of 4 pixels, got 2"),
        (lambda: PCAMaskCodec.fit(_FOUR_MASKS, 1, logit=2), ValueError, "logit must be True or"),
        (lambda: PCAMaskCodec.fit([_FOUR_MASKS], 1), TypeError, "masks must be"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
