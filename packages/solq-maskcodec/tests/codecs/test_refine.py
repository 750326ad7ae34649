import re

import numpy as np
import pytest
import torch

from solq_maskcodec import DCTMaskCodec
from solq_maskcodec.arrays import to_numpy
from solq_maskcodec.overlap import intersection_over_union

_CODEC = DCTMaskCodec()


def qualities(codec, masks, refine):
    decoded = codec.decode(codec.encode(masks, refine=refine), threshold=0.5)
    return intersection_over_union(decoded, masks)


def test_no_rounds_give_the_plain_vectors(blobs):
    masks = blobs(3, 128)
    np.testing.assert_array_equal(_CODEC.encode(masks, refine=0), _CODEC.encode(masks))


def test_one_round_of_a_hand_worked_mask():
    # The one coefficient is the mean: all values are 3 / 4, background wants at most 0.3. The
    # step takes (0.75 - 0.3) / 4 = 0.1125 off the mean and changes no decoded pixel.
    codec = DCTMaskCodec(num_coefficients=1, mask_size=2)
    vectors = codec.encode(np.array([[1.0, 1.0], [1.0, 0.0]]), refine=1)
    np.testing.assert_allclose(vectors, [2 * (0.75 - 0.1125)], atol=1e-12)


@pytest.mark.parametrize("rounds", [1, 3, 10, 50])
@pytest.mark.parametrize(("num_coefficients", "size"), [(10, 16), (64, 29), (256, 128)])
def test_no_mask_gets_worse_and_the_mean_gets_better(blobs, num_coefficients, size, rounds):
    codec = DCTMaskCodec(num_coefficients, size)
    noise = np.random.default_rng(0).random((8, size, size)) > 0.5
    masks = np.concatenate([blobs(16, size), noise])
    plain, better = qualities(codec, masks, 0), qualities(codec, masks, rounds)
    assert (better >= plain).all()
    assert better.mean() > plain.mean()


def test_no_real_mask_gets_worse_and_ten_rounds_reach_an_iou_of_0_979(real_masks):
    plain, better = qualities(_CODEC, real_masks, 0), qualities(_CODEC, real_masks, 10)
    assert (better >= plain).all()
    assert plain.mean() >= 0.969
    assert better.mean() >= 0.979


def test_200_rounds_reach_an_iou_of_0_990_on_real_masks(real_masks):
    assert qualities(_CODEC, real_masks[::3], 200).mean() >= 0.990  # 0.9902 on all of them


def test_64_refined_numbers_of_real_masks_do_the_work_of_more(real_masks):
    masks = real_masks[::8]
    refined, plain = DCTMaskCodec(64), DCTMaskCodec(100)
    assert qualities(refined, masks, 10).mean() > qualities(plain, masks, 0).mean()


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_full_and_empty_masks_come_back(convert):
    masks = np.stack([np.ones((128, 128), bool), np.zeros((128, 128), bool)])
    vectors = _CODEC.encode(convert(masks), refine=5)
    np.testing.assert_array_equal(_CODEC.decode(vectors, threshold=0.5), masks)


@pytest.mark.parametrize("size", [28, 29])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32"])
def test_every_library_gives_what_numpy_gives(blobs, to_library, size, dtype):
    masks = blobs(20, size).astype(dtype)
    codec = DCTMaskCodec(64, size)
    theirs = to_numpy(codec.encode(to_library(masks), refine=10))
    assert theirs.dtype == np.float32
    np.testing.assert_allclose(theirs, codec.encode(masks, refine=10), atol=1e-3)


def test_double_precision_stays(blobs):
    masks = blobs(3, 128).astype(float)
    vectors = _CODEC.encode(masks, refine=3)
    assert vectors.dtype == np.float64
    tensors = _CODEC.encode(torch.from_numpy(masks), refine=3)
    np.testing.assert_allclose(tensors.numpy(), vectors, atol=1e-10)


def test_a_batch_gives_what_its_members_give(blobs):
    masks = blobs(40, 28).reshape(5, 8, 28, 28)
    codec = DCTMaskCodec(64, 28)
    alone = [[codec.encode(mask, refine=5) for mask in row] for row in masks]
    np.testing.assert_allclose(codec.encode(masks, refine=5), np.array(alone), atol=1e-4)


def test_soft_masks_are_cut_at_a_half(blobs):
    masks = blobs(3, 128)
    soft = np.where(masks, 0.5, 0.49)
    np.testing.assert_array_equal(
        _CODEC.encode(soft, refine=4), _CODEC.encode(masks.astype(float), refine=4)
    )


def test_nan_and_numbers_beyond_0_and_1_are_cut_at_a_half_too(blobs):
    masks = blobs(3, 128)
    wild = np.where(masks, 200.0, np.nan)
    np.testing.assert_array_equal(
        _CODEC.encode(wild, refine=4), _CODEC.encode(masks.astype(float), refine=4)
    )
    np.testing.assert_array_equal(
        _CODEC.encode(np.uint8(200) * masks, refine=4), _CODEC.encode(masks, refine=4)
    )


def test_refined_vectors_carry_no_gradient(blobs):
    masks = torch.from_numpy(blobs(2, 128)).float().requires_grad_()
    assert not _CODEC.encode(masks, refine=2).requires_grad


@pytest.mark.parametrize("refine", [-1, 1.5, "10", None])
def test_a_number_of_rounds_that_cannot_be_is_refused(refine):
    message = f"refine must be an integer of at least 0, got {refine!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        _CODEC.encode(np.zeros((128, 128)), refine=refine)
