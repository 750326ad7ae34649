import re

import numpy as np
import pytest

from solq_maskcodec.validate import (
    masks_of_codec,
    masks_with_boxes,
    number_or_none,
    positive_integer,
)


@pytest.mark.parametrize("value", [1, np.int64(7), True])
def test_positive_integers_pass(value):
    assert positive_integer("size", value) == int(value)


@pytest.mark.parametrize("value", [0, -3, 1.0, "1", None])
def test_other_values_are_refused_by_name(value):
    with pytest.raises(
        ValueError, match=re.escape(f"size must be a positive integer, got {value!r}")
    ):
        positive_integer("size", value)


@pytest.mark.parametrize("value", [None, 0, 0.5, np.float32(0.5), -1])
def test_numbers_and_none_pass(value):
    number_or_none("threshold", value)


@pytest.mark.parametrize("value", ["0.5", float("nan"), [0.5], 1j])
def test_what_is_neither_number_nor_none_is_refused(value):
    with pytest.raises(ValueError, match="threshold must be a number or None, got"):
        number_or_none("threshold", value)


@pytest.mark.parametrize(
    ("given", "used"), [("int32", "f4"), ("f2", "f4"), ("f4", "f4"), ("f8", "f8")]
)
def test_boxes_are_read_in_single_precision_unless_they_are_double(given, used):
    boxes = masks_with_boxes(np.zeros((2, 3, 3)), np.zeros((2, 4), given))
    assert boxes.dtype == used


@pytest.mark.parametrize(
    ("masks_shape", "boxes_shape", "message"),
    [
        ((3, 3), (1, 4), "masks must be [instances, height, width], got shape (3, 3)"),
        ((2, 3, 3), (3, 4), "one box for each of 2 masks, got shape (3, 4)"),
        ((2, 3, 3), (2, 5), "one box for each of 2 masks, got shape (2, 5)"),
        ((1, 3, 3), (4,), "one box for each of 1 masks, got shape (4,)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(masks_shape, boxes_shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        masks_with_boxes(np.zeros(masks_shape), np.zeros(boxes_shape))


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_boxes_that_are_not_finite_are_refused_with_their_index(broken):
    boxes = np.array([[0, 0, 1, 1], [0, broken, 1, 1]])
    with pytest.raises(ValueError, match=r"boxes must be finite, got \[0.0, .*\] at index 1"):
        masks_with_boxes(np.zeros((2, 3, 3)), boxes)


def test_boxes_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="boxes must hold numbers, got dtype bool"):
        masks_with_boxes(np.zeros((2, 3, 3)), np.zeros((2, 4), bool))


@pytest.mark.parametrize("shape", [(4,), (4, 5), (2, 5, 4), (0, 5, 5, 4)])
def test_masks_of_another_size_are_refused(shape):
    masks_of_codec(np.zeros((2, 3, 4, 4)), 4)
    message = f"masks must be [..., 4, 4], got shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        masks_of_codec(np.zeros(shape), 4)
