import numpy as np
import pytest

from solq_maskcodec.image.pooled_axis import pooled_axes


def axis_of(start, stop, extent, size, bins_per_block=8, dtype=np.float32):
    box = np.array([[start, 0, stop, 1]], dtype)
    columns, _ = next(pooled_axes(box, (1, extent), size, bins_per_block))
    return columns


def matrix_of(axis, size):
    """Weights of all pixels of the span, [size, span], from those of the blocks."""
    blocks, bins, width = axis.weights.shape
    matrix = np.zeros((blocks * bins, axis.span.stop - axis.span.start))
    for block, first in enumerate(axis.firsts.tolist()):
        rows = slice(block * bins, (block + 1) * bins)
        matrix[rows, first : first + width] = axis.weights[block]
    assert not matrix[size:].any()
    return matrix[:size]


def test_bins_of_two_pixels_read_three_points_each_between_two():
    # Two points in each bin, at a quarter and three quarters of it.
    axis = axis_of(2, 6, 10, 2)
    assert (axis.points, axis.bin_size, axis.span) == (2, 2, slice(2, 7))
    np.testing.assert_array_equal(matrix_of(axis, 2), [[0.5, 0.5, 0, 0, 0], [0, 0, 0.5, 0.5, 0]])


def test_bins_of_a_pixel_read_that_pixel():
    np.testing.assert_array_equal(matrix_of(axis_of(3, 8, 10, 5), 5), np.eye(5, 6))


@pytest.mark.parametrize("bins_per_block", [1, 3, 8, 31])
@pytest.mark.parametrize(("start", "stop"), [(-7.3, 44.1), (3.25, 4.5), (-90, 200), (11, 25)])
def test_weights_of_blocks_are_those_of_the_points(start, stop, bins_per_block):
    size = 31
    axis = axis_of(start, stop, 30, size, bins_per_block, np.float64)
    expected = np.zeros((size, axis.span.stop - axis.span.start))
    low, high, low_weight, high_weight = axis.samples(np.arange(size))
    for point in range(axis.points):
        expected[np.arange(size), low[:, point]] += low_weight[:, point] / axis.points
        expected[np.arange(size), high[:, point]] += high_weight[:, point] / axis.points
    np.testing.assert_allclose(matrix_of(axis, size), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stop", range(90, 60000, 5900))
def test_no_point_is_missed_where_positions_are_rounded_to_several_pixels(stop):
    size, last = 2**13, np.arange(2**13 - 2, 2**13)
    axis = axis_of(-(2.0**29), stop, 60, size)
    low, high, low_weight, high_weight = axis.samples(last)
    assert low.min() >= 0
    assert high.max() < axis.span.stop - axis.span.start
    sums = (low_weight + high_weight).sum(axis=1) / axis.points
    assert sums.any()
    np.testing.assert_allclose(matrix_of(axis, size)[last].sum(axis=1), sums, rtol=1e-5)


def test_bins_inside_weigh_one_and_bins_outside_nothing():
    sums = matrix_of(axis_of(-20, 20, 10, 8), 8).sum(axis=1)
    np.testing.assert_allclose(sums, [0, 0, 0, 0.2, 1, 1, 0.2, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("start", "stop", "extent"), [(5, 5, 9), (5, 2, 9), (20, 30, 9), (-9, -3, 9), (0, 5, 0)]
)
def test_an_axis_without_a_point_in_the_image_is_none(start, stop, extent):
    assert axis_of(start, stop, extent, 4) is None


def test_points_of_a_huge_box_are_not_laid_out():
    axis = axis_of(-(2.0**29), 2.0**29, 100, 128)
    assert axis.points == 2**23
    assert axis.weights.size < 100_000


def test_columns_and_rows_of_all_boxes_come_in_order():
    boxes = np.array([[index, 2 * index, index + 9, 2 * index + 5] for index in range(75)], float)
    axes = list(pooled_axes(boxes, (400, 300), 7, 8))
    assert len(axes) == 75
    for index, (columns, rows) in enumerate(axes):
        assert (columns.extent, rows.extent) == (300, 400)
        assert (columns.start, rows.start) == (index - 0.5, 2 * index - 0.5)


def test_no_boxes_give_no_axes():
    assert list(pooled_axes(np.zeros((0, 4)), (4, 5), 7, 8)) == []
