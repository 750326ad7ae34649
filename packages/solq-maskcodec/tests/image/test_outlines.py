import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solq_maskcodec import masks_to_rle, polygons_to_rle, rle_to_polygons


def drawn(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


def polygons_of(mask):
    return rle_to_polygons(masks_to_rle(mask[None])[0])


def test_a_rectangle_has_its_four_corners_clockwise_from_the_top_left():
    mask = drawn(".....", "..##.", "..##.", "..##.")
    assert polygons_of(mask) == [[2, 1, 4, 1, 4, 4, 2, 4]]


def test_parts_are_polygons_of_their_own():
    mask = drawn("#..#", "...#", "#..#")
    assert polygons_of(mask) == [
        [0, 0, 1, 0, 1, 1, 0, 1],
        [3, 0, 4, 0, 4, 3, 3, 3],
        [0, 2, 1, 2, 1, 3, 0, 3],
    ]


def test_a_hole_is_joined_by_a_cut_from_above_there_and_back():
    mask = drawn("###", "#.#", "###")
    cut, hole = [2, 0, 2, 1], [1, 1, 1, 2, 2, 2]
    assert polygons_of(mask) == [[0, 0, *cut, *hole, 2, 0, 3, 0, 3, 3, 0, 3]]


def test_an_empty_mask_has_no_polygons():
    assert polygons_of(np.zeros((4, 5), bool)) == []


@given(
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.integers(0, 2**32 - 1),
    st.floats(0.1, 0.95),
)
def test_polygons_make_the_same_rle_again(shape, seed, density):
    mask = np.random.default_rng(seed).random(shape) < density
    polygons = polygons_of(mask)
    rle = masks_to_rle(mask[None])[0]
    if mask.any():
        assert polygons_to_rle(polygons, shape) == rle
    else:
        assert polygons == []


def test_nested_rings_and_islands_make_the_same_rle_again():
    distance = np.hypot(*np.mgrid[-40:40, -50:50])
    mask = distance % 10 < 5
    assert polygons_to_rle(polygons_of(mask), mask.shape) == masks_to_rle(mask[None])[0]


def test_the_polygons_of_a_large_image_are_found_in_the_box_of_the_mask():
    rle = polygons_to_rle(
        [[50_000, 30_000, 50_004, 30_000, 50_004, 30_002, 50_000, 30_002]], (60_000, 90_000)
    )
    assert rle_to_polygons(rle) == [
        [50_000, 30_000, 50_004, 30_000, 50_004, 30_002, 50_000, 30_002]
    ]


def test_a_broken_rle_is_refused():
    with pytest.raises(ValueError, match="counts of rle 0 must be lengths that add up to"):
        rle_to_polygons({"size": [3, 3], "counts": [4]})
