"""Mask logits: enlarged to the network's image, cut to the image, resized to what is asked for."""

import pytest
import torch
import torch.nn.functional as F

from solq_maskcodec import rle_to_masks
from solq_model.mask_logits import CHUNK, MaskLogits


def mask_logits(num_instances, canvas=(48, 64), image=(40, 50), seed=0):
    generator = torch.Generator().manual_seed(seed)
    padding = torch.ones(canvas, dtype=torch.bool)
    padding[: image[0], : image[1]] = False
    logits = torch.randn(num_instances, 3, 4, generator=generator)
    return MaskLogits(logits=logits, image_padding=padding)


def test_masks_are_what_lies_above_even_odds_in_the_image_without_its_padding():
    found = mask_logits(CHUNK + 3)
    size = (90, 70)
    large = F.interpolate(found.logits[None], size=(48, 64), mode="bilinear")[0]
    inside = large[:, :40, :50] > 0
    # Each pixel of the asked image has what its nearest one decided (torch's rule: rounded down).
    rows, columns = torch.arange(90) * 40 // 90, torch.arange(70) * 50 // 70
    assert torch.equal(found.masks(size), inside[:, rows][:, :, columns])


def test_a_grid_that_is_positive_on_its_left_half_gives_the_left_half():
    logits = torch.tensor([[[9.0, -9.0]]])
    found = MaskLogits(logits=logits, image_padding=torch.zeros(4, 8, dtype=torch.bool))
    expected = torch.zeros(1, 4, 8, dtype=torch.bool)
    expected[..., :4] = True
    assert torch.equal(found.masks((4, 8)), expected)


def test_run_lengths_are_those_of_the_dense_masks():
    found = mask_logits(CHUNK + 3)
    rles = found.rle((33, 47))
    assert [rle["size"] for rle in rles] == [[33, 47]] * (CHUNK + 3)
    assert torch.equal(torch.from_numpy(rle_to_masks(rles)), found.masks((33, 47)))


def test_run_lengths_need_the_memory_of_a_few_masks_only(monkeypatch):
    found = mask_logits(3 * CHUNK)
    enlarged = []
    enlarge = MaskLogits.enlarge
    monkeypatch.setattr(
        MaskLogits, "enlarge", lambda self: enlarged.append(len(self.logits)) or enlarge(self)
    )
    assert len(found.rle((40, 50))) == 3 * CHUNK
    assert enlarged == [CHUNK] * 3


@pytest.mark.parametrize("keep", [torch.tensor([2, 0]), torch.tensor([True, False, True])])
def test_a_selection_has_the_masks_it_picks(keep):
    found = mask_logits(3)
    assert torch.equal(found.select(keep).masks((40, 50)), found.masks((40, 50))[keep])


def test_no_instances_have_no_masks():
    found = mask_logits(0)
    assert found.masks((40, 50)).shape == (0, 40, 50)
    assert found.rle((40, 50)) == []
