import pickle
import re
import sys

import array_api_strict as standard
import numpy as np
import pyefd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solq_maskcodec.codecs.fourier_codec import EllipticFourierCodec
from solq_maskcodec.image.frames import paste_masks
from solq_maskcodec.image.rle import masks_to_rle
from solq_maskcodec.overlap import intersection_over_union
from solq_maskcodec.protocol import MaskCodec

_CODEC = EllipticFourierCodec(num_coefficients=42, mask_size=32)


def circle(size, middle=(0.5, 0.5), radius=0.3):
    centres = (np.arange(size) + 0.5) / size
    return (centres - middle[0]) ** 2 + (centres[:, None] - middle[1]) ** 2 <= radius**2


def test_a_codec_is_a_mask_codec_of_254_or_258_coefficients_and_so_on():
    codec = EllipticFourierCodec()
    assert isinstance(codec, MaskCodec)
    assert (codec.num_coefficients, codec.mask_size, codec.num_harmonics) == (258, 128, 64)
    assert EllipticFourierCodec(6, 1).num_harmonics == 1


def test_a_circle_is_its_middle_and_one_harmonic():
    vector = _CODEC.encode(circle(32, middle=(0.6, 0.4)).astype(np.float64))
    np.testing.assert_allclose(vector[:2], [0.6, 0.4], atol=0.005)
    # A full turn of x and of y with the radius; clockwise on a screen, so det > 0.
    a, b, c, d = vector[2:6]
    assert np.hypot(a, b) == pytest.approx(0.3, abs=0.02)
    assert np.hypot(c, d) == pytest.approx(0.3, abs=0.02)
    assert a * d - b * c == pytest.approx(0.3**2, abs=0.01)
    assert np.abs(vector[6:]).max() < 0.02


def test_vectors_are_those_of_pyefd():
    mask = np.zeros((32, 32))
    mask[4:20, 8:28] = 1
    outline = np.array([(8, 4), (28, 4), (28, 20), (8, 20)]) / 32
    vector = _CODEC.encode(mask)
    np.testing.assert_allclose(vector[:2], pyefd.calculate_dc_coefficients(outline))
    expected = pyefd.elliptic_fourier_descriptors(outline, order=10)
    np.testing.assert_allclose(vector[2:].reshape(10, 4), expected, atol=1e-12)


def test_a_decoded_curve_is_the_one_that_pyefd_reconstructs():
    rng = np.random.default_rng(0)
    vector = rng.standard_normal(14) * 0.2
    codec = EllipticFourierCodec(14, 64)
    curve = pyefd.reconstruct_contour(
        vector[2:].reshape(3, 4), locus=vector[:2], num_points=4 * (3 + 64) + 1
    )
    np.testing.assert_allclose(codec._curves(vector[None], 64)[0], curve[:-1], atol=1e-12)


def test_enough_harmonics_give_a_part_without_holes_back():
    codec = EllipticFourierCodec(2002, 32)
    mask = circle(32) | circle(32, (0.7, 0.7), 0.2)
    np.testing.assert_array_equal(codec.decode(codec.encode(mask)), mask)


def test_a_full_mask_comes_back_but_for_its_rounded_corners():
    full = np.ones((32, 32), bool)
    assert _CODEC.decode(_CODEC.encode(full)).mean() > 0.98


def test_holes_and_further_parts_are_lost():
    ring = circle(32) & ~circle(32, radius=0.1)
    np.testing.assert_array_equal(_CODEC.encode(ring), _CODEC.encode(circle(32)))
    speck = circle(32).copy()
    speck[0, 0] = True
    np.testing.assert_array_equal(_CODEC.encode(speck), _CODEC.encode(circle(32)))


def test_an_empty_mask_is_zeros_and_comes_back_empty():
    vector = _CODEC.encode(np.zeros((32, 32), bool))
    np.testing.assert_array_equal(vector, np.zeros(42))
    assert not _CODEC.decode(vector).any()


@given(st.integers(0, 2**32 - 1))
def test_a_moved_mask_has_another_middle_and_no_other_difference(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((32, 32))
    mask[4:12, 4:12] = rng.random((8, 8)) > 0.4
    down, right = rng.integers(0, 16, 2)
    moved = _CODEC.encode(np.roll(mask, (down, right), (0, 1)))
    vector = _CODEC.encode(mask)
    if mask.any():
        np.testing.assert_allclose(moved[:2] - vector[:2], [right / 32, down / 32], atol=1e-12)
    np.testing.assert_allclose(moved[2:], vector[2:], atol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_any_noise_is_encoded_and_decoded(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((3, 32, 32)) < rng.random()
    assert np.isfinite(_CODEC.encode(masks)).all()
    decoded = _CODEC.decode(rng.standard_normal((3, 42)))
    assert decoded.shape == (3, 32, 32)


def test_the_size_of_the_grid_changes_the_pixels_and_not_the_shape():
    vector = _CODEC.encode(circle(32))
    fine, coarse = _CODEC.decode(vector, size=128), _CODEC.decode(vector, size=8)
    assert intersection_over_union(fine, circle(128)) > 0.97
    assert intersection_over_union(coarse, circle(8)) > 0.9


def test_values_without_a_threshold_are_0_and_1():
    vector = _CODEC.encode(circle(32))
    values = _CODEC.decode(vector, threshold=None)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, _CODEC.decode(vector))
    for threshold in (0.5, 1.0, "isodata", "midrange"):
        np.testing.assert_array_equal(_CODEC.decode(vector, threshold), values)
    assert not _CODEC.decode(vector, 1.5).any()


@pytest.mark.parametrize("leading", [(), (0,), (3,), (2, 2), (2, 0)])
def test_any_leading_shape(leading):
    masks = np.broadcast_to(circle(32), (*leading, 32, 32))
    vectors = _CODEC.encode(masks)
    assert vectors.shape == (*leading, 42)
    assert _CODEC.decode(vectors).shape == (*leading, 32, 32)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.float16, np.float32, np.float64])
def test_vectors_are_float32_or_float64_for_float64(dtype):
    vectors = _CODEC.encode(circle(32).astype(dtype))
    assert vectors.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_array_equal(_CODEC.decode(vectors), _CODEC.decode(_CODEC.encode(circle(32))))


def test_what_is_at_least_half_is_foreground():
    soft = np.where(circle(32), 0.5, 0.49)
    np.testing.assert_array_equal(_CODEC.encode(soft), _CODEC.encode(circle(32).astype(float)))


@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_give_tensors(dtype):
    masks = torch.from_numpy(np.stack([circle(32), circle(32, radius=0.2)]))
    vectors = _CODEC.encode(masks.to(dtype))
    assert vectors.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = _CODEC.encode(masks.numpy().astype(float))
    np.testing.assert_allclose(vectors.numpy(), expected, atol=1e-7)
    decoded = _CODEC.decode(vectors.requires_grad_())
    assert decoded.dtype == torch.bool
    np.testing.assert_array_equal(decoded.numpy(), _CODEC.decode(vectors.detach().numpy()))
    assert _CODEC.decode(vectors, threshold=None).dtype == vectors.dtype


def test_arrays_of_the_standard_give_such_arrays():
    masks = np.stack([circle(32), circle(32, radius=0.2)])
    vectors = _CODEC.encode(standard.asarray(masks))
    np.testing.assert_array_equal(np.asarray(vectors), _CODEC.encode(masks))
    decoded = _CODEC.decode(vectors)
    assert type(decoded) is type(vectors)
    np.testing.assert_array_equal(np.asarray(decoded), _CODEC.decode(np.asarray(vectors)))


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e300])
def test_a_broken_vector_gives_an_empty_mask_and_harms_no_other(broken):
    vectors = _CODEC.encode(np.stack([circle(32), circle(32)]).astype(float))
    vectors[0, 7] = broken
    decoded = _CODEC.decode(vectors)
    assert not decoded[0].any()
    np.testing.assert_array_equal(decoded[1], _CODEC.decode(vectors[1]))


def test_rles_are_those_of_pasted_masks():
    masks = np.stack([circle(32), np.zeros((32, 32), bool), circle(32, radius=0.2)])
    vectors = _CODEC.encode(masks)
    boxes = np.array([[3.5, 2, 40, 61], [0, 0, 9, 9], [-20, 30, 30, 90]], np.float32)
    expected = masks_to_rle(paste_masks(_CODEC.decode(vectors), boxes, (70, 50)))
    assert _CODEC.decode_to_rle(vectors, boxes, (70, 50)) == expected


def test_real_masks_come_back_but_those_of_several_parts(real_masks):
    masks = real_masks[::12]
    codec = EllipticFourierCodec()
    iou = intersection_over_union(codec.decode(codec.encode(masks)), masks)
    assert iou.mean() > 0.965
    assert np.median(iou) > 0.985


def test_codecs_of_equal_fields_are_equal_hashable_and_picklable():
    assert EllipticFourierCodec(42, 32) == _CODEC
    assert len({_CODEC, pickle.loads(pickle.dumps(_CODEC)), EllipticFourierCodec(46, 32)}) == 2


def test_without_pyefd_encode_says_what_to_install_and_decode_works(monkeypatch):
    vector = _CODEC.encode(circle(32))
    monkeypatch.setitem(sys.modules, "pyefd", None)
    with pytest.raises(ImportError, match=re.escape("pip install solq-maskcodec[efd]")):
        _CODEC.encode(circle(32))
    assert _CODEC.decode(vector).any()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (256, "for example 254 or 258, got 256"),
        (255, "for example 254 or 258, got 255"),
        (257, "for example 254 or 258, got 257"),
        (2, "for example 6, got 2"),
        (1, "for example 6, got 1"),
        (7, "for example 6 or 10, got 7"),
        (0, "num_coefficients must be a positive integer, got 0"),
        (6.0, "num_coefficients must be a positive integer, got 6.0"),
    ],
)
def test_a_number_of_coefficients_that_cannot_be_names_the_nearest_ones(number, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        EllipticFourierCodec(number)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: EllipticFourierCodec(6, 0), ValueError, "mask_size must be a positive integer"),
        (
            lambda: _CODEC.encode(np.zeros((32, 31))),
            ValueError,
            "masks must be [..., 32, 32], got shape (32, 31)",
        ),
        (lambda: _CODEC.encode([[0]]), TypeError, "masks must be"),
        (lambda: _CODEC.encode(np.zeros((32, 32), complex)), ValueError, "masks must hold bool"),
        (
            lambda: _CODEC.decode(np.zeros(41)),
            ValueError,
            "vectors must be [..., 42], got shape (41,)",
        ),
        (lambda: _CODEC.decode(np.zeros(42), size=0), ValueError, "size must be a positive"),
        (
            lambda: _CODEC.decode(np.zeros(42), "otsu"),
            ValueError,
            'threshold must be "isodata", "midrange", a number or None, got \'otsu\'',
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
