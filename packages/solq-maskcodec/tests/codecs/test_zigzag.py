import numpy as np
import pytest

from solq_maskcodec import zigzag_order
from solq_maskcodec.codecs.zigzag import zigzag_corner


def test_order_of_three_by_three_is_that_of_jpeg():
    assert zigzag_order(3).tolist() == [0, 1, 3, 6, 4, 2, 5, 7, 8]


def test_first_256_of_128_equal_the_published_table(published):
    np.testing.assert_array_equal(zigzag_order(128)[:256], published.zigzag)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 28, 127])
def test_order_is_a_permutation_that_never_returns_to_an_earlier_diagonal(size):
    order = zigzag_order(size)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(size * size))
    diagonal = order // size + order % size
    assert (np.diff(diagonal) >= 0).all()


@pytest.mark.parametrize("size", [2, 3, 8, 9])
def test_successive_entries_are_neighbours_in_the_matrix(size):
    rows, columns = np.divmod(zigzag_order(size), size)
    assert np.maximum(abs(np.diff(rows)), abs(np.diff(columns))).max() == 1


def test_order_may_be_written_to_without_harm_to_others():
    zigzag_order(4)[:] = 0
    assert zigzag_order(4)[1] == 1


def test_corner_of_the_published_codec_has_23_rows_and_22_columns():
    corner = zigzag_corner(128, 256)
    assert (corner.num_rows, corner.num_columns) == (23, 22)
    rows, columns = np.divmod(corner.order, 22)
    np.testing.assert_array_equal(rows * 128 + columns, zigzag_order(128)[:256])


@pytest.mark.parametrize("size", [0, -1, 2.5, "8", None])
def test_a_size_that_is_no_positive_integer_is_refused(size):
    with pytest.raises(ValueError, match="size must be a positive integer, got"):
        zigzag_order(size)
