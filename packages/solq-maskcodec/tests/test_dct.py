import numpy as np
import pytest
from scipy.fft import dct, dctn

from solq_maskcodec.dct import cosine_basis, from_frequencies, to_frequencies


@pytest.mark.parametrize("size", [1, 2, 7, 28, 128])
def test_basis_is_the_orthonormal_dct_matrix(size):
    np.testing.assert_allclose(
        cosine_basis(size, size, size), dct(np.eye(size), axis=0, norm="ortho"), atol=1e-13
    )


def test_corner_of_the_spectrum_equals_the_one_of_a_full_transform():
    images = np.random.default_rng(0).random((3, 16, 16))
    corner = to_frequencies(images, cosine_basis(5, 16, 16), cosine_basis(4, 16, 16))
    expected = dctn(images, axes=(1, 2), norm="ortho")[:, :5, :4]
    np.testing.assert_allclose(corner, expected, atol=1e-12)


def test_all_frequencies_give_the_image_back():
    images = np.random.default_rng(0).random((3, 9, 9))
    basis = cosine_basis(9, 9, 9)
    spectra = to_frequencies(images, basis, basis)
    np.testing.assert_allclose(from_frequencies(spectra, basis, basis), images, atol=1e-12)


def test_another_number_of_positions_reads_the_same_function_elsewhere():
    # Every third pixel centre of the finer grid is a pixel centre of the coarser one.
    coarse, fine = cosine_basis(4, 8, 8), cosine_basis(4, 8, 24)
    np.testing.assert_allclose(fine[:, 1::3], coarse, atol=1e-14)


def test_bases_are_shared_and_cannot_be_written_to():
    assert cosine_basis(4, 8, 8) is cosine_basis(4, 8, 8)
    with pytest.raises(ValueError, match="read-only"):
        cosine_basis(4, 8, 8)[0, 0] = 1
