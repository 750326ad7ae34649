"""What codecs keep of masks in their boxes."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch

from solq_maskcodec import OWN, DCTMaskCodec, MaskCodec, mask_quality

_CODEC = DCTMaskCodec()


def test_all_coefficients_keep_everything(blobs):
    quality = mask_quality(DCTMaskCodec(400, 20), blobs(5, 20), threshold=0.5)
    for values in (quality.iou, quality.two_class_iou, quality.boundary_iou):
        np.testing.assert_array_equal(values, np.ones(5))


def test_a_hand_worked_mask():
    # One coefficient is the mean, 3 / 4: the mask decodes to full. The boundary is all of it.
    quality = mask_quality(DCTMaskCodec(1, 2), np.array([[True, True], [True, False]]))
    np.testing.assert_allclose(quality.iou, 3 / 4)
    np.testing.assert_allclose(quality.two_class_iou, (3 / 4 + 0) / 2)
    np.testing.assert_allclose(quality.boundary_iou, 3 / 4)


def test_full_and_empty_masks_are_kept():
    masks = np.stack([np.ones((128, 128), bool), np.zeros((128, 128), bool)])
    quality = mask_quality(_CODEC, masks)
    np.testing.assert_array_equal(quality.iou, [1, 1])
    np.testing.assert_array_equal(quality.two_class_iou, [1, 1])
    np.testing.assert_array_equal(quality.boundary_iou, [1, 1])


def test_the_published_rule_loses_full_masks():
    quality = mask_quality(_CODEC, np.ones((128, 128), bool), threshold="midrange")
    assert quality.iou == 0


def test_the_boundary_is_the_hardest_part_and_refining_helps_all_three(blobs):
    masks = blobs(20, 128)
    codec = DCTMaskCodec(64)
    plain = mask_quality(codec, masks, threshold=0.5)
    refined = mask_quality(codec, masks, refine=10, threshold=0.5)
    assert plain.boundary_iou.mean() < plain.iou.mean()
    for field in dataclasses.fields(plain):
        assert getattr(refined, field.name).mean() > getattr(plain, field.name).mean()


def test_real_masks_have_another_two_class_mean_than_foreground_iou(real_masks):
    # 924 of these masks, measured with other code: 0.9733 and 0.9709.
    quality = mask_quality(DCTMaskCodec(300), real_masks[::4], threshold=0.5)
    assert quality.iou.mean() == pytest.approx(0.973, abs=0.003)
    assert quality.two_class_iou.mean() == pytest.approx(0.971, abs=0.003)


@pytest.mark.parametrize("leading", [(), (0,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_torch_gives_what_numpy_gives_in_the_leading_shape(blobs, leading, dtype):
    masks = blobs(int(np.prod(leading)), 128).reshape(*leading, 128, 128)
    ours = mask_quality(_CODEC, masks)
    theirs = mask_quality(_CODEC, torch.from_numpy(masks).to(dtype))
    for field in dataclasses.fields(ours):
        values = getattr(ours, field.name)
        assert values.shape == leading
        np.testing.assert_allclose(getattr(theirs, field.name).numpy(), values, atol=1e-3)


class Coarse(MaskCodec):
    """The mean of each quarter of a mask, as somebody else might write a codec."""

    num_coefficients = 4
    mask_size = 8

    def encode(self, masks):
        return masks.reshape(*masks.shape[:-2], 2, 4, 2, 4).mean((-3, -1)).reshape(-1, 4)

    def decode(self, vectors, threshold=OWN, size=8):
        values = vectors.reshape(-1, 2, 2).repeat(size // 2, axis=1).repeat(size // 2, axis=2)
        return values >= (0.25 if threshold is OWN else threshold)


def test_any_codec_is_measured_by_its_own_threshold():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, :2, :4] = True  # half of the first quarter
    assert mask_quality(Coarse(), mask).iou == 0.5
    assert mask_quality(Coarse(), mask, threshold=0.75).iou == 0


def test_the_threshold_of_a_codec_is_its_field():
    full = np.ones((128, 128), bool)
    assert mask_quality(DCTMaskCodec(threshold="midrange"), full).iou == 0
    assert mask_quality(DCTMaskCodec(threshold="midrange"), full, threshold=0.5).iou == 1


def test_only_codecs_that_refine_can_be_asked_to():
    message = "refine must be 0 for Coarse, which does not refine, got 3"
    with pytest.raises(ValueError, match=message):
        mask_quality(Coarse(), np.ones((1, 8, 8), bool), refine=3)
    with pytest.raises(ValueError, match="refine must be an integer of at least 0, got -1"):
        mask_quality(_CODEC, np.ones((128, 128), bool), refine=-1)


@pytest.mark.parametrize("shape", [(128,), (64, 64), (3, 128, 64)])
def test_masks_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=r"masks must be \[\.\.\., 128, 128\], got shape"):
        mask_quality(_CODEC, np.ones(shape, bool))


def test_soft_values_are_no_masks():
    message = "threshold must be a rule or a number to get masks, got None"
    with pytest.raises(ValueError, match=message):
        mask_quality(_CODEC, np.ones((128, 128)), threshold=None)
    with pytest.raises(ValueError, match=message):
        mask_quality(DCTMaskCodec(threshold=None), np.ones((128, 128)))


def test_many_masks_are_measured_as_one_by_one(blobs):
    masks = blobs(70, 128)
    together = mask_quality(_CODEC, masks)
    for field in dataclasses.fields(together):
        alone = [getattr(mask_quality(_CODEC, mask), field.name) for mask in masks]
        np.testing.assert_array_equal(getattr(together, field.name), alone)


def test_memory_does_not_grow_with_the_number_of_masks(blobs):
    codec = DCTMaskCodec(20, 32, 0.5)

    def peak(count):
        masks = np.broadcast_to(blobs(1, 32), (count, 32, 32))  # takes no memory itself
        tracemalloc.start()
        assert mask_quality(codec, masks).iou.shape == (count,)
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return taken

    results = 3 * 8 * 2 * (10_000 - 2_000)  # three float64, once in parts and once together
    assert peak(10_000) < peak(2_000) + 2 * results


def test_every_library_gives_the_same_quality(blobs, to_library):
    codec = DCTMaskCodec(64, 32, threshold=0.5)
    masks = blobs(5, 32)
    found = mask_quality(codec, to_library(masks), refine=2)
    expected = mask_quality(codec, masks, refine=2)
    np.testing.assert_allclose(np.asarray(found.iou), expected.iou, atol=0.01)
    np.testing.assert_allclose(np.asarray(found.boundary_iou), expected.boundary_iou, atol=0.05)
