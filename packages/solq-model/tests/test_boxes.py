"""Boxes: the two ways to write them, logits, generalised IoU."""

import math

import pytest
import torch

from solq_model.boxes import (
    at_least_float32,
    cxcywh_to_xyxy,
    generalized_iou,
    inverse_sigmoid,
    xyxy_to_cxcywh,
)


def test_a_box_by_centre_and_size_has_its_corners_half_a_size_away():
    box = torch.tensor([0.5, 0.5, 0.2, 0.4])
    torch.testing.assert_close(cxcywh_to_xyxy(box), torch.tensor([0.4, 0.3, 0.6, 0.7]))


def test_a_box_by_corners_has_its_centre_between_them():
    box = torch.tensor([10.0, 20.0, 30.0, 80.0])
    torch.testing.assert_close(xyxy_to_cxcywh(box), torch.tensor([20.0, 50.0, 20.0, 60.0]))


@pytest.mark.parametrize("shape", [(4,), (0, 4), (5, 4), (2, 3, 4)])
def test_there_and_back_is_the_same_box(shape):
    boxes = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(xyxy_to_cxcywh(cxcywh_to_xyxy(boxes)), boxes)


def test_the_inverse_sigmoid_is_the_logit():
    value = torch.tensor([0.5, 0.75, 0.1])
    expected = torch.tensor([0.0, math.log(3), -math.log(9)])
    torch.testing.assert_close(inverse_sigmoid(value), expected)
    torch.testing.assert_close(inverse_sigmoid(value).sigmoid(), value)


def test_the_inverse_sigmoid_is_cut_at_both_ends():
    ends = inverse_sigmoid(torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    torch.testing.assert_close(ends, math.log(1e5) * torch.tensor([-1.0, -1.0, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("box", "other", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7 - 2 / 9),  # overlap 1, union 7, hull 9
        ((0, 0, 1, 1), (2, 0, 3, 1), -1 / 3),  # overlap 0, union 2, hull 3
        ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16),  # one inside the other: the hull is the union
        ((0, 0, 1, 1), (1, 0, 2, 1), 0.0),  # side by side
        ((0, 0, 2, 2), (1, 1, 1, 1), 0.0),  # a box without area inside
    ],
)
def test_generalised_iou_of_hand_worked_boxes(box, other, expected):
    box, other = torch.tensor(box).float(), torch.tensor(other).float()
    assert generalized_iou(box, other).item() == pytest.approx(expected)
    assert generalized_iou(other, box).item() == pytest.approx(expected)


def test_generalised_iou_broadcasts_to_a_table_of_pairs():
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3]])
    others = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 4, 4]])
    table = generalized_iou(boxes[:, None], others[None])
    assert table.shape == (2, 3)
    torch.testing.assert_close(table[0, :2], torch.tensor([1.0, 1 / 7 - 2 / 9]))
    assert generalized_iou(boxes[:0], others[:0]).shape == (0,)


def test_generalised_iou_pulls_boxes_together_that_do_not_overlap():
    box = torch.tensor([0.0, 0, 1, 1], requires_grad=True)
    generalized_iou(box, torch.tensor([5.0, 0, 6, 1])).backward()
    assert box.grad is not None
    assert box.grad[2] > 0, "moving the right side towards the other box must help"


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_only_sixteen_bits_are_widened(dtype, expected):
    assert at_least_float32(torch.ones(2, dtype=dtype)).dtype == expected
