import numpy as np
import pytest
from scipy.fft import dct, dctn, idctn

from solq_maskcodec.codecs.dct import CornerTransform, corner_transform, cosines
from solq_maskcodec.codecs.zigzag import zigzag_order


@pytest.mark.parametrize("size", [1, 2, 7, 28, 128])
def test_cosines_are_the_orthonormal_dct_matrix(size):
    np.testing.assert_allclose(
        cosines(np.arange(size), size, size), dct(np.eye(size), axis=0, norm="ortho"), atol=1e-13
    )


def test_another_number_of_positions_reads_the_same_function_elsewhere():
    # Every third pixel centre of the finer grid is a pixel centre of the coarser one.
    coarse, fine = cosines(np.arange(4), 8, 8), cosines(np.arange(4), 8, 24)
    np.testing.assert_allclose(fine[:, 1::3], coarse, atol=1e-14)


@pytest.mark.parametrize(("num_coefficients", "size"), [(1, 1), (1, 2), (17, 16), (40, 9), (5, 13)])
def test_vectors_are_numbers_of_a_full_transform(num_coefficients, size):
    images = np.random.default_rng(0).random((3, size, size))
    transform = CornerTransform(num_coefficients, size, size)
    expected = dctn(images, axes=(1, 2), norm="ortho").reshape(3, -1)
    np.testing.assert_allclose(
        transform.vectors(transform.corners(images)),
        expected[:, zigzag_order(size)[:num_coefficients]],
        atol=1e-12,
    )


@pytest.mark.parametrize(("num_coefficients", "size"), [(1, 1), (1, 2), (17, 16), (40, 9), (5, 13)])
def test_images_are_those_of_a_spectrum_that_is_zero_elsewhere(num_coefficients, size):
    vectors = np.random.default_rng(0).standard_normal((3, num_coefficients))
    transform = CornerTransform(num_coefficients, size, size)
    spectra = np.zeros((3, size * size))
    spectra[:, zigzag_order(size)[:num_coefficients]] = vectors
    expected = idctn(spectra.reshape(3, size, size), axes=(1, 2), norm="ortho")
    images = transform.images(transform.corners_of_vectors(vectors))
    np.testing.assert_allclose(images, expected, atol=1e-12)
    into = np.empty_like(images)
    assert transform.images(transform.corners_of_vectors(vectors), into) is into
    np.testing.assert_array_equal(into, images)


def test_a_corner_holds_each_coefficient_once_and_zeros_elsewhere():
    transform = CornerTransform(256, 128, 128)
    vectors = np.random.default_rng(0).standard_normal((2, 256))
    corners = transform.corners_of_vectors(vectors)
    assert corners.shape == (2, 24, 24)
    np.testing.assert_array_equal(transform.vectors(corners), vectors)
    kept = transform.is_kept(vectors)
    assert kept.sum() == 256
    np.testing.assert_array_equal(corners * kept, corners)


def test_transforms_are_shared():
    assert corner_transform(4, 8, 8) is corner_transform(4, 8, 8)
