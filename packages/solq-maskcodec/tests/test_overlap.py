import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from solq_maskcodec.arrays import to_numpy
from solq_maskcodec.overlap import inner_boundary, intersection_over_union


def test_intersection_over_union_of_hand_worked_masks(to_library):
    masks = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]], bool)
    others = np.array([[[1, 0], [1, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]], bool)
    ious = intersection_over_union(to_library(masks), to_library(others))
    np.testing.assert_allclose(to_numpy(ious), [1 / 3, 1, 0], rtol=1e-6)


@pytest.mark.parametrize("distance", [1, 2, 5])
def test_the_boundary_is_what_erosion_takes_away(blobs, to_library, distance):
    masks = np.concatenate([blobs(4, 31), np.ones((1, 31, 31), bool)])
    kept = [binary_erosion(mask, np.ones((3, 3)), iterations=distance) for mask in masks]
    boundary = inner_boundary(to_library(masks), distance)
    np.testing.assert_array_equal(to_numpy(boundary), masks & ~np.array(kept))
