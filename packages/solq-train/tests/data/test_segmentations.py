"""Segmentations → masks: hand-worked masks, and one case for everything that is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from solq_train.data.defects import DefectKind
from solq_train.data.segmentations import (
    is_finite_number,
    segmentation_fault,
    segmentation_mask,
)

SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]  # columns 1..3, rows 1..2


def test_polygon_covers_the_pixels_inside() -> None:
    mask = segmentation_mask([SQUARE], (4, 6))
    expected = np.zeros((4, 6), dtype=bool)
    expected[1:3, 1:4] = True
    np.testing.assert_array_equal(mask, expected)


def test_several_polygons_are_one_mask() -> None:
    mask = segmentation_mask([SQUARE, [4, 0, 6, 0, 6, 4, 4, 4]], (4, 6))
    assert mask.sum() == 6 + 8


def test_uncompressed_runs_go_down_the_columns() -> None:
    mask = segmentation_mask({"size": [2, 3], "counts": [1, 2, 2, 1]}, (2, 3))
    np.testing.assert_array_equal(mask, [[False, True, False], [True, False, True]])


@pytest.mark.parametrize("seed", range(5))
def test_compressed_runs_decode_as_pycocotools_encoded_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    expected = rng.random((37, 53)) < rng.random()
    rle = coco_mask.encode(np.asfortranarray(expected.astype(np.uint8)))
    counts = rle["counts"].decode("ascii")
    mask = segmentation_mask({"size": [37, 53], "counts": counts}, (37, 53))
    np.testing.assert_array_equal(mask, expected, err_msg=f"seed {seed}")
    assert segmentation_fault({"size": [37, 53], "counts": counts}, (37, 53)) is None


def test_mask_is_bool_and_row_by_row_in_memory() -> None:
    for segmentation in ([SQUARE], {"size": [4, 6], "counts": [24]}):
        mask = segmentation_mask(segmentation, (4, 6))
        assert mask.dtype == bool
        assert mask.shape == (4, 6)
        assert mask.flags.c_contiguous


@pytest.mark.parametrize("counts", ["05", "0000", "", "zzzz", "o", "ö!"])
def test_broken_counts_string_is_an_error_and_no_memory_is_read(counts: str) -> None:
    with pytest.raises(ValueError, match="counts"):
        segmentation_mask({"size": [10, 10], "counts": counts}, (10, 10))


BROKEN: list[tuple[Any, DefectKind, str]] = [
    (None, DefectKind.WRONG_VALUE, "got None"),
    ([], DefectKind.BAD_POLYGON, "got none"),
    ([[]], DefectKind.BAD_POLYGON, "got 0 numbers"),
    ([[1, 1, 2, 2]], DefectKind.BAD_POLYGON, "got 4 numbers"),
    ([[1, 1, 2, 2, 3, 3, 4]], DefectKind.BAD_POLYGON, "got 7 numbers"),
    ([SQUARE, [1, 2]], DefectKind.BAD_POLYGON, r"segmentation\[1\]"),
    ([1, 1, 4, 1, 4, 3], DefectKind.WRONG_VALUE, r"segmentation\[0\] must be a list"),
    ([[1, 1, "4", 1, 4, 3]], DefectKind.WRONG_VALUE, "got '4'"),
    ([[1, 1, None, 1, 4, 3]], DefectKind.WRONG_VALUE, "got None"),
    ([[1, 1, True, 1, 4, 3]], DefectKind.WRONG_VALUE, "got True"),
    ([[1, 1, float("nan"), 1, 4, 3]], DefectKind.NOT_FINITE, "got nan"),
    ([[1, 1, float("inf"), 1, 4, 3]], DefectKind.NOT_FINITE, "got inf"),
    ([[1, 1, 10**400, 1, 4, 3]], DefectKind.NOT_FINITE, "finite"),
    ([[1, 1, -2e9, 1, 4, 3]], DefectKind.BAD_POLYGON, "got -2000000000.0"),
    ({"size": [10, 10]}, DefectKind.MISSING_KEY, "'counts'"),
    ({"counts": [100]}, DefectKind.MISSING_KEY, "'size'"),
    ({"size": [10, 11], "counts": [110]}, DefectKind.RLE_SIZE, r"\[10, 10\], got \[10, 11\]"),
    ({"size": "10x10", "counts": [100]}, DefectKind.RLE_SIZE, "got '10x10'"),
    ({"size": [10, 10], "counts": 100}, DefectKind.WRONG_VALUE, "got 100"),
    ({"size": [10, 10], "counts": [50, 49]}, DefectKind.RLE_CORRUPT, "100 pixels .* got 99"),
    ({"size": [10, 10], "counts": [-1, 101]}, DefectKind.RLE_CORRUPT, "at least 0"),
    ({"size": [10, 10], "counts": [1.5, 98.5]}, DefectKind.RLE_CORRUPT, "run lengths"),
]


@pytest.mark.parametrize(("segmentation", "kind", "words"), BROKEN)
def test_fault_names_what_was_expected_and_what_came(
    segmentation: Any, kind: DefectKind, words: str
) -> None:
    fault = segmentation_fault(segmentation, (10, 10))
    assert fault is not None
    assert fault[0] is kind
    with pytest.raises(ValueError, match=words):
        raise ValueError(fault[1])


def test_sound_segmentations_have_no_fault() -> None:
    assert segmentation_fault([SQUARE, [0.5, -3.0, 60, 2, 8, 9.25]], (10, 10)) is None
    assert segmentation_fault({"size": [10, 10], "counts": [100]}, (10, 10)) is None


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 10**400, True, "1", None])
def test_is_finite_number_refuses_what_no_float_holds(value: object) -> None:
    assert not is_finite_number(value)


def test_is_finite_number_takes_ints_and_floats() -> None:
    assert is_finite_number(3)
    assert is_finite_number(-0.5)
