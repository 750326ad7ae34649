import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion

from solq_maskcodec.overlap import inner_boundary, intersection_over_union


def test_intersection_over_union_of_hand_worked_masks():
    masks = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]], bool)
    others = np.array([[[1, 0], [1, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]], bool)
    expected = [1 / 3, 1, 0]
    np.testing.assert_allclose(intersection_over_union(masks, others), expected)
    tensors = intersection_over_union(torch.from_numpy(masks), torch.from_numpy(others))
    np.testing.assert_allclose(tensors.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("distance", [1, 2, 5])
def test_the_boundary_is_what_erosion_takes_away(blobs, convert, distance):
    masks = np.concatenate([blobs(4, 31), np.ones((1, 31, 31), bool)])
    kept = [binary_erosion(mask, np.ones((3, 3)), iterations=distance) for mask in masks]
    boundary = inner_boundary(convert(masks), distance)
    np.testing.assert_array_equal(boundary, masks & ~np.array(kept))
