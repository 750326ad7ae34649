import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solq_maskcodec import DCTMaskCodec, flip_horizontal, flip_vertical, transpose
from solq_maskcodec.arrays import to_numpy

_FLIPS = [(flip_horizontal, -1), (flip_vertical, -2)]


@st.composite
def codecs(draw):
    size = draw(st.integers(1, 24))
    return DCTMaskCodec(num_coefficients=draw(st.integers(1, size**2)), mask_size=size)


def random_masks(codec, seed):
    return np.random.default_rng(seed).random((2, 3, codec.mask_size, codec.mask_size))


@pytest.mark.parametrize(("flip", "axis"), _FLIPS)
@given(codec=codecs(), seed=st.integers(0, 2**32 - 1))
def test_flipped_vectors_are_those_of_flipped_masks(flip, axis, codec, seed):
    masks = random_masks(codec, seed)
    flipped = flip(codec, codec.encode(masks))
    np.testing.assert_allclose(flipped, codec.encode(np.flip(masks, axis)), atol=1e-12)


@given(st.integers(1, 24), st.data(), st.integers(0, 2**32 - 1))
def test_transposed_vectors_are_those_of_transposed_masks(size, data, seed):
    diagonal = data.draw(st.integers(0, 2 * size - 2))
    rows, columns = np.divmod(np.arange(size**2), size)
    codec = DCTMaskCodec(int((rows + columns <= diagonal).sum()), size)
    masks = random_masks(codec, seed)
    transposed = transpose(codec, codec.encode(masks))
    np.testing.assert_allclose(transposed, codec.encode(np.swapaxes(masks, -1, -2)), atol=1e-12)


@pytest.mark.parametrize("change", [flip_horizontal, flip_vertical, transpose])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_twice_gives_the_same_bits_back_in_the_same_type(change, dtype):
    codec = DCTMaskCodec(276)
    vectors = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 276))).to(dtype)
    once = change(codec, vectors)
    assert once.dtype == dtype
    assert not torch.equal(once, vectors)
    assert torch.equal(change(codec, once), vectors)
    np.testing.assert_array_equal(change(codec, vectors.numpy()), once.numpy())


@pytest.mark.parametrize(("flip", "axis"), _FLIPS)
def test_flips_of_refined_vectors_decode_to_flipped_masks(blobs, flip, axis):
    codec = DCTMaskCodec()
    vectors = codec.encode(blobs(10, 128), refine=5)
    masks = np.flip(codec.decode(vectors, threshold=0.5), axis)
    assert (codec.decode(flip(codec, vectors), threshold=0.5) != masks).mean() <= 1e-4


@pytest.mark.parametrize("change", [flip_horizontal, flip_vertical, transpose])
def test_every_library_gives_what_numpy_gives(to_library, change):
    codec = DCTMaskCodec(28, 9)
    vectors = np.random.default_rng(0).standard_normal((2, 3, 28)).astype(np.float32)
    changed = change(codec, to_library(vectors))
    np.testing.assert_array_equal(to_numpy(changed), change(codec, vectors))


def test_256_transposed_numbers_come_from_276(blobs):
    masks = blobs(5, 128)
    wide = DCTMaskCodec(276)
    transposed = transpose(wide, wide.encode(masks))[:, :256]
    expected = DCTMaskCodec().encode(masks.swapaxes(1, 2))
    np.testing.assert_allclose(transposed, expected, atol=1e-4)


def test_a_codec_without_whole_diagonals_cannot_transpose():
    message = "whole diagonals to transpose vectors, for example 276, got 256"
    with pytest.raises(ValueError, match=re.escape(message)):
        transpose(DCTMaskCodec(), np.zeros((2, 256)))


@pytest.mark.parametrize("change", [flip_horizontal, flip_vertical, transpose])
def test_vectors_of_the_wrong_length_are_refused(change):
    message = "vectors must be [..., 6], got shape (2, 5)"
    with pytest.raises(ValueError, match=re.escape(message)):
        change(DCTMaskCodec(6, 4), np.zeros((2, 5)))
