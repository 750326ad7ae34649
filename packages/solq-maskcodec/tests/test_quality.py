import dataclasses

import numpy as np
import pytest
import torch

from solq_maskcodec import DCTMaskCodec, mask_quality

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


def test_soft_values_are_no_masks():
    with pytest.raises(ValueError, match="threshold must be a rule or a number, got None"):
        mask_quality(_CODEC, np.ones((128, 128)), threshold=None)
