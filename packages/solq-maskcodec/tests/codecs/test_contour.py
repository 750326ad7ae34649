import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from solq_maskcodec.codecs.contour import largest_outline, pixels_inside


def drawn(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


def random_mask(seed, size=12):
    rng = np.random.default_rng(seed)
    return rng.random((size, size)) < rng.random()


def test_a_pixel_has_the_outline_of_its_corners_clockwise_from_the_top_left():
    outline = largest_outline(drawn("...", ".#.", "..."))
    np.testing.assert_array_equal(outline, [(1, 1), (2, 1), (2, 2), (1, 2)])


def test_only_corners_at_which_the_outline_turns_are_kept():
    outline = largest_outline(drawn("####", "#...", "#..."))
    np.testing.assert_array_equal(outline, [(0, 0), (4, 0), (4, 1), (1, 1), (1, 3), (0, 3)])


def test_pixels_that_meet_at_a_corner_are_one_part():
    outline = largest_outline(drawn("#..", ".#.", "..#"))
    np.testing.assert_array_equal(pixels_inside(outline[None] / 3, 3)[0], np.eye(3, dtype=bool))


def test_holes_and_all_that_lies_in_them_belong_to_the_part():
    mask = drawn("#####", "#...#", "#.#.#", "#...#", "#####")
    np.testing.assert_array_equal(largest_outline(mask), [(0, 0), (5, 0), (5, 5), (0, 5)])


def test_the_part_that_encloses_the_most_is_taken():
    mask = drawn("##..###", "##..#.#", "##..###")
    np.testing.assert_array_equal(largest_outline(mask)[0], (4, 0))


def test_an_empty_mask_has_no_outline():
    assert largest_outline(np.zeros((5, 5), bool)).shape == (0, 2)


@given(st.integers(0, 2**32 - 1))
def test_the_inside_of_the_outline_is_the_largest_filled_part(seed):
    mask = random_mask(seed)
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    parts = [ndimage.binary_fill_holes(labels == label) for label in range(1, count + 1)]
    areas = [part.sum() for part in parts]
    outline = largest_outline(mask)
    if count == 0:
        assert len(outline) == 0
        return
    inside = pixels_inside(outline[None] / 12, 12)[0]
    assert inside.sum() == max(areas)
    assert any((inside == part).all() for part in parts)


@given(st.integers(0, 2**32 - 1))
def test_the_outline_is_closed_and_runs_along_the_axes(seed):
    outline = largest_outline(random_mask(seed))
    steps = np.roll(outline, -1, axis=0) - outline
    assert ((steps == 0).sum(axis=1) == 1).all()


def test_inside_goes_by_the_centres_of_pixels():
    outline = np.array([(0.0, 0.0), (0.74, 0.0), (0.74, 0.76), (0.0, 0.76)])
    np.testing.assert_array_equal(
        pixels_inside(outline[None], 2)[0], [[True, False], [True, False]]
    )


def test_what_is_enclosed_twice_is_outside():
    square = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    inner = square / 2 + 0.25
    twice = np.concatenate([square, square[:1], inner, inner[:1]])
    np.testing.assert_array_equal(
        pixels_inside(twice[None], 4)[0],
        drawn("####", "#..#", "#..#", "####"),
    )


@given(st.integers(0, 2**32 - 1))
def test_inside_equals_the_crossing_test_of_each_pixel(seed):
    rng = np.random.default_rng(seed)
    outline = rng.random((9, 2)) * 2 - 0.5
    size = 11
    expected = np.zeros((size, size), bool)
    for row, column in np.ndindex(size, size):
        x, y = (column + 0.5) / size, (row + 0.5) / size
        for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x:
                expected[row, column] ^= True
    np.testing.assert_array_equal(pixels_inside(outline[None], size)[0], expected)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 1e300])
def test_an_outline_with_a_point_that_is_nowhere_encloses_nothing(broken):
    outlines = np.tile([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)], (2, 1, 1))
    outlines[0, 1, 0] = broken
    inside = pixels_inside(outlines, 3)
    assert not inside[0].any()
    assert inside[1].all()


@pytest.mark.parametrize("shape", [(0, 4, 2), (2, 0, 2)])
def test_none_is_fine(shape):
    assert not pixels_inside(np.zeros(shape), 5).any()
