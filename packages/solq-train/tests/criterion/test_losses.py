"""Each loss term against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from solq_model.mask_logits import CHUNK, MaskLogits
from solq_train.criterion import losses

LN2 = math.log(2)


def number(value: torch.Tensor) -> float:
    assert value.shape == ()
    return value.item()


def test_focal_loss_of_an_undecided_query_is_a_sixteenth_of_ln_2_for_its_class():
    logits, one_hot = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    assert number(losses.focal_loss(logits, one_hot, 1.0)) == pytest.approx(LN2 / 16)


def test_focal_loss_of_an_undecided_query_is_three_times_that_for_other_classes():
    logits = torch.zeros(1, 1, 1)
    found = losses.focal_loss(logits, torch.zeros_like(logits), 1.0)
    assert number(found) == pytest.approx(3 * LN2 / 16)


def test_focal_loss_sums_queries_and_classes_and_divides_by_the_objects():
    logits, one_hot = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    one_hot[0, 0, 1] = one_hot[1, 2, 3] = 1.0
    expected = (2 * 1 + 22 * 3) * LN2 / 16 / 2
    assert number(losses.focal_loss(logits, one_hot, 2.0)) == pytest.approx(expected)


def test_focal_loss_hardly_counts_what_is_known():
    # p = 0.9 for the class: 0.25 * 0.1^2 * -ln 0.9
    logits = torch.full((1, 1, 1), math.log(9))
    found = losses.focal_loss(logits, torch.ones(1, 1, 1), 1.0)
    assert number(found) == pytest.approx(0.25 * 0.01 * -math.log(0.9), rel=1e-5)


def test_focal_loss_and_its_gradient_are_finite_for_extreme_logits():
    logits = torch.tensor([[[-300.0, 300.0, 300.0, -300.0]]], requires_grad=True)
    loss = losses.focal_loss(logits, torch.tensor([[[1.0, 0.0, 1.0, 0.0]]]), 1.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_box_l1_loss_sums_coordinates_and_divides_by_the_objects():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]])
    targets = torch.tensor([[0.4, 0.6, 0.2, 0.3], [0.1, 0.1, 0.1, 0.1]])
    assert number(losses.box_l1_loss(boxes, targets, 2.0)) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        # IoU 1, the hull is the box itself
        ((0.5, 0.5, 0.2, 0.2), 0.0),
        # IoU 1/4, the hull is the larger box
        ((0.5, 0.5, 0.4, 0.4), 0.75),
        # half of it beside: IoU 1/3, the hull is the union
        ((0.6, 0.5, 0.2, 0.2), 2 / 3),
        # corner to corner: no overlap, the hull is twice the union
        ((0.7, 0.7, 0.2, 0.2), 1.5),
    ],
)
def test_giou_loss_of_boxes_worked_out_by_hand(box, expected):
    target = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    found = losses.giou_loss(torch.tensor([box]), target, 1.0)
    assert number(found) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("distance", "reduction", "expected"),
    [("l1", "mean", 6 / 4), ("l1", "sum", 6 / 3), ("mse", "mean", 14 / 4), ("mse", "sum", 14 / 3)],
)
def test_vector_loss_is_a_mean_over_all_or_a_sum_per_object(distance, reduction, expected):
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    found = losses.vector_loss(
        vectors, targets, None, distance=distance, reduction=reduction, num_objects=3.0
    )
    assert number(found) == pytest.approx(expected)


@pytest.mark.parametrize(("distance", "expected"), [("l1", 2.0 + 0.5), ("mse", 4.0 + 0.25)])
def test_vector_loss_counts_in_deviations_where_they_are_given(distance, expected):
    vectors, targets = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]])
    deviation = torch.tensor([0.5, 4.0])
    found = losses.vector_loss(
        vectors, targets, deviation, distance=distance, reduction="mean", num_objects=1.0
    )
    assert number(found) == pytest.approx(expected / 2)


def test_mask_loss_of_zero_vectors_against_full_masks_is_worked_out_by_hand(codec):
    # Decoded to 0 everywhere, so each of the 4 x 4 logits is 8 * (0 - 0.5) = -4.
    probability = 1 / (1 + math.exp(4))
    cross_entropy = math.log(1 + math.exp(4))
    dice = 1 - (2 * 16 * probability + 1) / (16 * probability + 16 + 1)
    found = losses.mask_loss(
        torch.zeros(1, 16), torch.ones(1, 8, 8, dtype=torch.bool), codec, 4, 2.0
    )
    assert number(found) == pytest.approx((cross_entropy + dice) / 2, rel=1e-5)


def test_mask_loss_is_small_for_the_vectors_of_the_masks_themselves(codec):
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[:, :4] = True
    own = losses.mask_loss(codec.encode(masks), masks, codec, 8, 1.0)
    other = losses.mask_loss(codec.encode(~masks), masks, codec, 8, 1.0)
    assert number(own) < 0.4
    assert number(other) > 10 * number(own)


def test_mask_loss_leads_vectors_to_the_mask(codec):
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[:, 2:6, 1:7] = True
    vectors = torch.zeros(1, 16, requires_grad=True)
    before = losses.mask_loss(vectors, masks, codec, 8, 1.0)
    before.backward()
    after = losses.mask_loss(vectors - 0.1 * vectors.grad, masks, codec, 8, 1.0)
    assert number(after) < number(before)


@pytest.mark.parametrize("deviation", [None, torch.ones(16)])
def test_without_pairs_the_mask_terms_are_zero_and_have_a_gradient(codec, deviation):
    vectors = torch.zeros(0, 16, requires_grad=True)
    loss = losses.vector_loss(
        vectors, torch.zeros(0, 16), deviation, distance="l1", reduction="sum", num_objects=1.0
    )
    masks = torch.zeros(0, 8, 8, dtype=torch.bool)
    loss = loss + losses.mask_loss(vectors, masks, codec, 4, 1.0)
    loss.backward()
    assert number(loss) == 0.0
    assert vectors.grad.shape == (0, 16)


def spatial_masks(num_pairs, canvas=(8, 12), image=(6, 10), seed=0):
    """Random logits of a quarter of the canvas, and masks of the image in its corner."""
    generator = torch.Generator().manual_seed(seed)
    padding = torch.ones(canvas, dtype=torch.bool)
    padding[: image[0], : image[1]] = False
    logits = torch.randn(num_pairs, canvas[0] // 4, canvas[1] // 4, generator=generator)
    masks = torch.rand(num_pairs, *image, generator=generator) > 0.5
    return MaskLogits(logits=logits.requires_grad_(), image_padding=padding), masks


def test_spatial_mask_losses_of_undecided_masks_are_worked_out_by_hand():
    padding = torch.zeros(4, 8, dtype=torch.bool)
    found = MaskLogits(logits=torch.zeros(1, 1, 2), image_padding=padding)
    target = torch.zeros(1, 4, 8, dtype=torch.bool)
    target[..., :2] = True
    focal, dice = losses.spatial_mask_losses(found, target, 2.0)
    # A quarter of the pixels are of the object; the rest cost three times as much.
    assert number(focal) == pytest.approx((1 / 4 + 3 * 3 / 4) * LN2 / 16 / 2)
    assert number(dice) == pytest.approx((1 - (2 * 4 + 1) / (16 + 8 + 1)) / 2)


def test_spatial_mask_losses_count_padding_as_not_of_the_object():
    found, masks = spatial_masks(3)
    whole = torch.zeros(3, 8, 12, dtype=torch.bool)
    whole[:, :6, :10] = masks
    alone = MaskLogits(logits=found.logits, image_padding=torch.zeros(8, 12, dtype=torch.bool))
    padded = losses.spatial_mask_losses(found, masks, 1.0)
    assert padded == losses.spatial_mask_losses(alone, whole, 1.0)


def test_spatial_mask_losses_and_gradients_of_many_masks_are_sums_of_those_of_few():
    found, masks = spatial_masks(CHUNK + 5)
    together = torch.stack(losses.spatial_mask_losses(found, masks, 7.0))
    (gradient,) = torch.autograd.grad(together.sum(), found.logits)
    singly = torch.stack(
        [
            torch.stack(
                losses.spatial_mask_losses(found.select(slice(i, i + 1)), masks[i : i + 1], 7.0)
            )
            for i in range(len(masks))
        ]
    ).sum(0)
    torch.testing.assert_close(together, singly)
    torch.testing.assert_close(gradient, torch.autograd.grad(singly.sum(), found.logits)[0])


def test_without_pairs_spatial_mask_losses_are_zero_and_have_a_gradient():
    found, masks = spatial_masks(0)
    focal, dice = losses.spatial_mask_losses(found, masks, 1.0)
    (focal + dice).backward()
    assert number(focal) == number(dice) == 0.0
    assert found.logits.grad.shape == (0, 2, 3)


def test_without_pairs_the_box_terms_are_zero():
    nothing = torch.zeros(0, 4)
    assert number(losses.box_l1_loss(nothing, nothing, 1.0)) == 0.0
    assert number(losses.giou_loss(nothing, nothing, 1.0)) == 0.0


def test_class_error_is_the_percentage_of_wrong_pairs():
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 5.0]])
    found = losses.class_error(logits, torch.tensor([0, 1, 1, 1]))
    assert number(found) == pytest.approx(25.0)


def test_class_error_without_objects_is_a_hundred():
    assert number(losses.class_error(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))) == 100
