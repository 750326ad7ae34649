import contextlib
import re

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from solq_maskcodec import masks_to_rle, rle_areas, rle_to_masks
from solq_maskcodec.image.rle import (
    box_of_counts,
    columns_of_counts,
    counts_of_rle,
    counts_of_window,
)


def coco_strings(masks):
    encoded = coco.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    return [rle["counts"].decode("ascii") for rle in encoded]


def test_a_worked_example():
    masks = np.array([[[0, 1, 1], [0, 1, 0]]], bool)
    # Down the columns: 2 off, 3 on, 1 off; characters from "0" on.
    assert masks_to_rle(masks) == [{"size": [2, 3], "counts": "231"}]
    np.testing.assert_array_equal(rle_to_masks([{"size": [2, 3], "counts": [2, 3, 1]}]), masks)


@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=40)))
@example(np.zeros((1, 1, 1), bool))
@example(np.ones((2, 3, 5), bool))
def test_strings_equal_pycocotools_and_decode_to_the_masks(masks):
    rles = masks_to_rle(masks)
    assert [rle["counts"] for rle in rles] == coco_strings(masks)
    np.testing.assert_array_equal(rle_to_masks(rles), masks)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 60))
def test_runs_of_all_lengths_equal_pycocotools(seed, density, scale):
    coarse = np.random.default_rng(seed).random((2, 9, 7)) < density
    masks = np.kron(coarse, np.ones((1, scale, scale), bool)).astype(bool)
    assert [rle["counts"] for rle in masks_to_rle(masks)] == coco_strings(masks)


def test_long_runs_equal_pycocotools():
    masks = np.zeros((3, 1500, 2000), bool)
    masks[1, 700, 1000] = True
    masks[2, 1:, :] = True
    rles = masks_to_rle(masks)
    assert [rle["counts"] for rle in rles] == coco_strings(masks)
    np.testing.assert_array_equal(rle_to_masks(rles), masks)


def test_what_pycocotools_writes_is_read_as_str_and_as_bytes():
    masks = np.random.default_rng(0).random((3, 31, 17)) > 0.5
    encoded = coco.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    np.testing.assert_array_equal(rle_to_masks(encoded), masks)
    as_text = [{**rle, "counts": rle["counts"].decode()} for rle in encoded]
    np.testing.assert_array_equal(rle_to_masks(as_text), masks)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:pycocotools")
def test_what_we_write_is_read_by_pycocotools():
    masks = np.random.default_rng(0).random((3, 31, 17)) > 0.5
    np.testing.assert_array_equal(coco.decode(masks_to_rle(masks)), masks.transpose(1, 2, 0))


def test_integers_and_tensors_are_encoded_as_bool_arrays_are():
    masks = np.random.default_rng(0).random((3, 8, 9)) > 0.5
    expected = masks_to_rle(masks)
    assert masks_to_rle(masks.astype(np.uint8) * 255) == expected
    assert masks_to_rle(torch.from_numpy(masks)) == expected
    assert masks_to_rle(masks.transpose(0, 2, 1).copy().transpose(0, 2, 1)) == expected


def test_nothing_gives_nothing():
    assert masks_to_rle(np.zeros((0, 4, 5), bool)) == []
    assert rle_to_masks([]).shape == (0, 0, 0)
    assert rle_to_masks(masks_to_rle(np.zeros((2, 0, 5), bool))).shape == (2, 0, 5)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.zeros((4, 5), bool), "masks must be [instances, height, width], got shape (4, 5)"),
        (np.zeros((1, 4, 5)), "masks must be bool or integers (threshold floats first), got dtype"),
    ],
)
def test_masks_of_another_shape_or_kind_are_refused(masks, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        masks_to_rle(masks)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([2, 3], "must be lengths that add up to 2 * 3 = 6, got a sum of 5"),
        ([2, 5], "must be lengths that add up to 2 * 3 = 6, got a sum of 7"),
        ([7, -1], "and a least length of -1"),
        ([], "got a sum of 0"),
        ("23", "got a sum of 5"),
        ("", "got a sum of 0"),
        ("2O", "and a least length of -1"),
        ("6P", "must be a COCO RLE string, got '6P'"),
        ("6 ", "must be a COCO RLE string, got '6 '"),
        ("6é", "must be a COCO RLE string, got '6é'"),
        (b"\xff", "must be a COCO RLE string, got"),
        ("oooooooo0", "must be a COCO RLE string, got"),
        ([1.5, 4.5], "must be a string, bytes or integers, got"),
        ([[1, 5]], "must be a string, bytes or integers, got"),
        (None, "must be a string, bytes or integers, got"),
    ],
)
def test_broken_counts_are_refused_with_their_index(counts, message):
    whole = {"size": [2, 3], "counts": "6"}
    with pytest.raises(ValueError, match=rf"counts of rle 1 .*{re.escape(message)}"):
        rle_to_masks([whole, {"size": [2, 3], "counts": counts}])


@given(st.text(alphabet=[chr(code) for code in range(40, 120)], max_size=20))
def test_any_string_fills_the_mask_exactly_or_is_refused(counts):
    with contextlib.suppress(ValueError):
        assert rle_to_masks([{"size": [4, 5], "counts": counts}]).shape == (1, 4, 5)


@pytest.mark.parametrize("rle", [{"size": [2, 3]}, {"counts": "6"}, {"size": 6, "counts": "6"}])
def test_an_rle_without_size_or_counts_is_refused(rle):
    with pytest.raises(ValueError, match=r'rle 0 must be \{"size": \[height, width\], "counts"'):
        rle_to_masks([rle])


def test_rles_of_two_sizes_are_refused():
    message = "rle 1 must have the size [2, 3] of all, got [3, 2]"
    with pytest.raises(ValueError, match=re.escape(message)):
        rle_to_masks([{"size": [2, 3], "counts": [6]}, {"size": [3, 2], "counts": [6]}])


@pytest.mark.parametrize("counts", ["23", [2, 3], [2**62] * 4, "oo?" * 50])
def test_nothing_of_a_broken_mask_s_size_is_allocated(counts):
    with pytest.raises(ValueError, match="counts of rle 0 must be lengths that add up to"):
        rle_to_masks([{"size": [2**20, 2**20], "counts": counts}])


@pytest.mark.parametrize("side", [2**60, float("inf"), -1])
def test_a_size_that_no_mask_has_is_refused(side):
    with pytest.raises(ValueError, match="rle 0 must be"):
        rle_to_masks([{"size": [side, 2], "counts": [6]}])


def test_a_sum_that_wraps_around_to_the_right_number_is_refused():
    counts = [2**62, 2**62, 2**62, 2**62 + 6]
    with pytest.raises(ValueError, match=f"got a sum of {2**64 + 6}"):
        rle_to_masks([{"size": [2, 3], "counts": counts}])


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 9), max_size=30))
def test_runs_without_pixels_are_skipped(seed, runs):
    height = int(np.random.default_rng(seed).integers(1, 6))
    runs.append(-sum(runs) % height)
    rle = {"size": [height, sum(runs) // height], "counts": runs}
    decoded = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(-1, height).T
    np.testing.assert_array_equal(rle_to_masks([rle])[0], decoded)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)), st.data())
def test_columns_of_counts_are_a_slice_of_the_mask(mask, data):
    width = mask.shape[1]
    start = data.draw(st.integers(0, width))
    columns = slice(start, data.draw(st.integers(start, width)))
    counts = counts_of_rle(masks_to_rle(mask[None])[0], 0, mask.shape)
    np.testing.assert_array_equal(columns_of_counts(counts, len(mask), columns), mask[:, columns].T)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_a_box_of_counts_is_the_smallest_around_the_pixels(mask):
    rle = masks_to_rle(mask[None])[0]
    x0, y0, x1, y1 = box_of_counts(counts_of_rle(rle, 0, mask.shape), len(mask))
    assert [x0, y0, x1 - x0, y1 - y0] == pixel_box(mask)
    assert bool(mask.any()) == (x1 > x0)


def pixel_box(mask):
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        return [0, 0, 0, 0]
    x, y = columns.min(), rows.min()
    return [x, y, columns.max() + 1 - x, rows.max() + 1 - y]


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)), st.data())
def test_counts_of_a_window_are_those_of_the_mask_around_it(window, data):
    top, left, below, right = (data.draw(st.integers(0, 3)) for _ in range(4))
    mask = np.pad(window, [(top, below), (left, right)])
    counts = counts_of_window(window, (left, top), mask.shape)
    np.testing.assert_array_equal(counts, counts_of_rle(masks_to_rle(mask[None])[0], 0, mask.shape))


@pytest.mark.parametrize("corner", [(-1, 0), (0, -1), (3, 0), (0, 4)])
def test_a_window_that_reaches_outside_is_refused(corner):
    with pytest.raises(ValueError, match=r"window must lie in the image \(5, 4\), got \(2, 2\) at"):
        counts_of_window(np.ones((2, 2), bool), corner, (5, 4))


def test_areas_are_counted_without_decoding():
    masks = np.random.default_rng(0).random((3, 31, 17)) > [[[0.5]], [[0.1]], [[1]]]
    assert rle_areas(masks_to_rle(masks)).tolist() == masks.sum((1, 2)).tolist()
    huge = {"size": [100_000, 100_000], "counts": [10**10 - 7, 7]}
    assert rle_areas([huge, {"size": [2, 3], "counts": "231"}]).tolist() == [7, 3]
    assert rle_areas([]).shape == (0,)
