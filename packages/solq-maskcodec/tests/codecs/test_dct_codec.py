import copy
import dataclasses
import pickle
import re
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn, idctn

from solq_maskcodec import OWN, DCTMaskCodec, zigzag_order
from solq_maskcodec.arrays import to_numpy

_CODEC = DCTMaskCodec()
_THRESHOLDS = ["isodata", "midrange", 0.5, None]


@st.composite
def codecs(draw):
    size = draw(st.integers(1, 24))
    return DCTMaskCodec(num_coefficients=draw(st.integers(1, size**2)), mask_size=size)


def intersection_over_union(masks, others):
    return (masks & others).sum((1, 2)) / (masks | others).sum((1, 2))


def definition(size):
    """The DCT-II matrix, [frequencies, pixels], by its definition."""
    frequencies, pixels = np.mgrid[:size, :size]
    waves = np.cos(np.pi * frequencies * (2 * pixels + 1) / (2 * size))
    return waves * np.sqrt(np.where(frequencies == 0, 1, 2) / size)


def test_vectors_equal_the_published_ones(published):
    vectors = _CODEC.encode(published.masks)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, published.vectors, rtol=0, atol=1e-4)


def test_masks_decoded_from_published_vectors_equal_the_published_ones(published):
    wide = published.vectors.astype(np.float64)
    np.testing.assert_array_equal(_CODEC.decode(wide, "midrange"), published.decoded)
    # One of 1,966,080 pixels lies 4e-7 from the threshold, which is less than a step of float32.
    assert (_CODEC.decode(published.vectors, "midrange") != published.decoded).sum() <= 1


def test_masks_decoded_from_our_vectors_equal_the_published_ones(published):
    codec = DCTMaskCodec(threshold="midrange")
    np.testing.assert_array_equal(codec.decode(codec.encode(published.masks)), published.decoded)


@pytest.mark.parametrize("size", range(1, 161))
def test_every_size_follows_the_definition_and_scipy(size):
    random = np.random.default_rng(size)
    masks = random.random((2, size, size))
    basis, order = definition(size), zigzag_order(size)
    spectra = basis @ masks @ basis.T
    np.testing.assert_allclose(spectra, dctn(masks, axes=(1, 2), norm="ortho"), atol=1e-10)
    for number in {1, int(random.integers(1, size**2 + 1)), size**2}:
        codec = DCTMaskCodec(number, size)
        vectors = codec.encode(masks)
        np.testing.assert_allclose(
            vectors, spectra.reshape(2, -1)[:, order[:number]], rtol=0, atol=1e-10
        )
        np.testing.assert_allclose(codec.encode(masks.astype(np.float32)), vectors, atol=1e-4)
        kept = np.zeros((2, size**2))
        kept[:, order[:number]] = vectors
        kept = kept.reshape(2, size, size)
        values = codec.decode(vectors, None)
        np.testing.assert_allclose(values, basis.T @ kept @ basis, rtol=0, atol=1e-10)
        np.testing.assert_allclose(
            values, idctn(kept, axes=(1, 2), norm="ortho"), rtol=0, atol=1e-10
        )


def test_a_full_mask_has_its_size_as_the_first_number_and_zeros_after():
    vector = DCTMaskCodec(num_coefficients=10, mask_size=28).encode(np.ones((28, 28)))
    np.testing.assert_allclose(vector, [28] + [0] * 9, atol=1e-12)


@given(codecs(), st.integers(0, 2**32 - 1))
def test_all_coefficients_give_every_mask_back(codec, seed):
    size = codec.mask_size
    complete = DCTMaskCodec(size**2, size)
    masks = np.random.default_rng(seed).random((3, size, size)) > 0.5
    np.testing.assert_array_equal(complete.decode(complete.encode(masks), threshold=0.5), masks)


@given(codecs(), st.integers(0, 2**32 - 1))
def test_encode_after_soft_decode_changes_no_vector(codec, seed):
    vectors = np.random.default_rng(seed).standard_normal((3, codec.num_coefficients))
    values = codec.decode(vectors, threshold=None)
    np.testing.assert_allclose(codec.encode(values), vectors, atol=1e-10)


@given(codecs(), st.integers(0, 2**32 - 1))
def test_encode_is_linear(codec, seed):
    a, b = np.random.default_rng(seed).standard_normal((2, 5, codec.mask_size, codec.mask_size))
    np.testing.assert_allclose(
        codec.encode(2 * a - 3 * b), 2 * codec.encode(a) - 3 * codec.encode(b), atol=1e-10
    )


@given(codecs(), st.integers(0, 2**32 - 1))
def test_a_batch_gives_what_its_members_give(codec, seed):
    vectors = np.random.default_rng(seed).standard_normal((2, 3, codec.num_coefficients))
    values = codec.decode(vectors, threshold=None)
    alone = [[codec.decode(vector, threshold=None) for vector in row] for row in vectors]
    np.testing.assert_allclose(values, np.array(alone), atol=1e-12)
    encoded = [[codec.encode(mask) for mask in row] for row in values]
    np.testing.assert_allclose(codec.encode(values), np.array(encoded), atol=1e-12)


@given(codecs(), st.integers(0, 2**32 - 1), st.sampled_from(["bool", "uint8", "f4", "f8"]))
def test_torch_and_the_array_api_give_what_numpy_gives(codec, seed, dtype):
    strict = pytest.importorskip("array_api_strict")
    masks = (
        np.random.default_rng(seed).random((3, codec.mask_size, codec.mask_size)) > 0.5
    ).astype(dtype)
    vectors = codec.encode(masks)
    values = codec.decode(vectors, None)
    for convert in (torch.from_numpy, strict.asarray):
        theirs = to_numpy(codec.encode(convert(masks)))
        assert theirs.dtype == vectors.dtype
        np.testing.assert_allclose(theirs, vectors, atol=1e-4)
        theirs = to_numpy(codec.decode(convert(vectors), None))
        assert theirs.dtype == values.dtype
        np.testing.assert_allclose(theirs, values, atol=1e-4)


@pytest.mark.parametrize("threshold", _THRESHOLDS)
@pytest.mark.parametrize("size", [None, 20])
def test_every_library_gives_what_numpy_gives(blobs, to_library, threshold, size):
    codec = DCTMaskCodec(60, 29, threshold)
    masks = blobs(6, 29).reshape(2, 3, 29, 29)
    vectors = codec.encode(masks)
    array = to_library(masks)
    for refine in (0, 3):
        theirs = codec.encode(array, refine)
        assert type(theirs) is type(array)
        np.testing.assert_allclose(to_numpy(theirs), codec.encode(masks, refine), atol=1e-4)
    decoded = codec.decode(to_library(vectors), size=size)
    expected = codec.decode(vectors, size=size)
    assert tuple(decoded.shape) == expected.shape
    if threshold is None:
        np.testing.assert_allclose(to_numpy(decoded), expected, atol=1e-5)
    else:
        np.testing.assert_array_equal(to_numpy(decoded), expected)


def test_jax_compiles_and_differentiates_it(blobs):
    jax = pytest.importorskip("jax")
    codec = DCTMaskCodec(60, 29)
    masks = blobs(4, 29)
    vectors = codec.encode(masks)
    np.testing.assert_allclose(jax.jit(codec.encode)(jax.numpy.asarray(masks)), vectors, atol=1e-4)
    decode = jax.jit(DCTMaskCodec.decode, static_argnums=(0, 2))
    theirs = jax.numpy.asarray(vectors)
    for threshold in ("isodata", "midrange", 0.5):
        np.testing.assert_array_equal(
            decode(codec, theirs, threshold), codec.decode(vectors, threshold)
        )
    # Kept frequencies are orthonormal: the squares of values and of coefficients have one sum.
    gradient = jax.grad(lambda given: (codec.decode(given, None) ** 2).sum())(theirs)
    np.testing.assert_allclose(gradient, 2 * vectors, atol=1e-4)


def test_large_batches_give_what_small_ones_give(blobs):
    masks = blobs(40, 128)
    np.testing.assert_allclose(
        _CODEC.encode(masks), np.stack([_CODEC.encode(mask) for mask in masks]), atol=1e-4
    )


def test_256_numbers_keep_real_masks_at_a_mean_iou_above_96(published):
    decoded = _CODEC.decode(_CODEC.encode(published.masks))
    assert intersection_over_union(decoded, published.masks).mean() > 0.96


@pytest.mark.parametrize("leading", [(), (0,), (3,), (2, 0), (2, 3)])
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_any_leading_shape_is_kept(leading, convert):
    codec = DCTMaskCodec(num_coefficients=5, mask_size=4)
    vectors = codec.encode(convert(np.zeros((*leading, 4, 4), bool)))
    assert tuple(vectors.shape) == (*leading, 5)
    assert tuple(codec.decode(vectors).shape) == (*leading, 4, 4)
    assert tuple(codec.decode(vectors, size=9, threshold=None).shape) == (*leading, 9, 9)


def test_a_number_as_threshold_keeps_values_of_at_least_that():
    codec = DCTMaskCodec(num_coefficients=1, mask_size=2)
    assert codec.decode(np.array([1.0]), threshold=0.5).all()  # values are exactly 1 / 2
    assert not codec.decode(np.array([1.0]), threshold=0.5001).any()


@pytest.mark.parametrize("threshold", ["isodata", "midrange", 0.5])
def test_a_vector_with_nan_decodes_to_an_empty_mask_and_leaves_its_neighbours_alone(
    blobs,
    threshold,
):
    vectors = _CODEC.encode(blobs(3, 128))
    expected = _CODEC.decode(vectors, threshold)
    vectors[1, 5] = np.nan
    masks = _CODEC.decode(vectors, threshold)
    assert not masks[1].any()
    np.testing.assert_array_equal(masks[[0, 2]], expected[[0, 2]])
    assert np.isnan(_CODEC.decode(vectors, threshold=None)[1]).all()


def test_another_grid_reads_the_same_cosines(blobs):
    vectors = _CODEC.encode(blobs(3, 128))
    # Every third pixel centre of the finer grid is one of the codec's own.
    fine = _CODEC.decode(vectors, threshold=None, size=384)
    np.testing.assert_allclose(
        fine[:, 1::3, 1::3], _CODEC.decode(vectors, threshold=None), atol=1e-4
    )


def test_gradients_flow_both_ways():
    codec = DCTMaskCodec(num_coefficients=7, mask_size=5)
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 5, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    vectors = torch.rand(2, 7, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(codec.encode, masks)
    assert torch.autograd.gradcheck(lambda v: codec.decode(v, threshold=None, size=6), vectors)


def test_use_under_inference_mode_does_not_break_later_training():
    codec = DCTMaskCodec(num_coefficients=9, mask_size=11)
    with torch.inference_mode():
        codec.encode(torch.ones(1, 11, 11))
        codec.decode(torch.ones(1, 9), threshold=None)
    vectors = torch.ones(1, 9, requires_grad=True)
    codec.encode(codec.decode(vectors, threshold=None)).sum().backward()
    np.testing.assert_allclose(vectors.grad.numpy(), np.ones((1, 9)), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_and_returned_in_single(blobs, dtype):
    masks = torch.from_numpy(blobs(3, 128))
    vectors = _CODEC.encode(masks.to(dtype))
    torch.testing.assert_close(vectors, _CODEC.encode(masks), rtol=0, atol=0)
    halves = vectors.to(dtype).requires_grad_()
    values = _CODEC.decode(halves, threshold=None)
    assert values.dtype == torch.float32
    expected = _CODEC.decode(halves.float(), threshold=None)
    torch.testing.assert_close(values, expected, rtol=0, atol=0)
    values.sum().backward()
    assert halves.grad.dtype == dtype


def test_autocast_leaves_the_numbers_alone(blobs):
    masks = torch.from_numpy(blobs(3, 128))
    expected = _CODEC.encode(masks)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = _CODEC.encode(masks)
        values = _CODEC.decode(vectors, threshold=None)
    torch.testing.assert_close(vectors, expected, rtol=0, atol=0)
    torch.testing.assert_close(values, _CODEC.decode(expected, threshold=None), rtol=0, atol=0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA device absent")
def test_results_stay_on_the_device_and_agree_with_the_cpu(blobs):
    masks = torch.from_numpy(blobs(40, 128))
    vectors = _CODEC.encode(masks.cuda())
    assert vectors.is_cuda
    torch.testing.assert_close(vectors.cpu(), _CODEC.encode(masks), rtol=0, atol=1e-4)
    decoded = _CODEC.decode(vectors)
    assert decoded.is_cuda
    assert (decoded.cpu() != _CODEC.decode(vectors.cpu())).float().mean() <= 1e-4


@pytest.mark.parametrize("threshold", _THRESHOLDS)
def test_no_step_looks_at_numbers_on_a_device(threshold):
    # Tensors without numbers: to look at one, for which a GPU makes the host wait, raises here.
    masks = torch.zeros(100, 128, 128, dtype=torch.bool, device="meta")
    vectors = _CODEC.encode(masks)
    assert vectors.shape == _CODEC.encode(masks, refine=2).shape == (100, 256)
    assert _CODEC.decode(vectors, threshold).shape == (100, 128, 128)


@pytest.mark.parametrize("threshold", _THRESHOLDS)
def test_torch_can_map_over_it(blobs, threshold):
    masks = torch.from_numpy(blobs(4, 28))
    codec = DCTMaskCodec(40, 28, threshold)
    vectors = torch.vmap(codec.encode)(masks)
    torch.testing.assert_close(vectors, codec.encode(masks))
    torch.testing.assert_close(torch.vmap(codec.decode)(vectors), codec.decode(vectors))


@pytest.mark.parametrize("threshold", _THRESHOLDS)
def test_memory_beyond_the_result_does_not_grow_with_the_batch(blobs, threshold):
    codec = DCTMaskCodec(40, 32, threshold)
    few = np.tile(blobs(100, 32), (20, 1, 1))
    extra = []
    for masks in (few, np.tile(few, (4, 1, 1))):
        for step, batch in ((codec.encode, masks), (codec.decode, codec.encode(masks))):
            step(batch[:1000])
            tracemalloc.start()
            result = step(batch)
            extra.append(tracemalloc.get_traced_memory()[1] - result.nbytes)
            tracemalloc.stop()
    assert np.allclose(extra[:2], extra[2:], rtol=0.1)
    assert max(extra) < 10e6


def test_codecs_are_values():
    codec = DCTMaskCodec(64, 28, 0.5)
    assert DCTMaskCodec() == DCTMaskCodec(256, 128, "isodata")
    assert len({DCTMaskCodec(), DCTMaskCodec(256, 128), codec, DCTMaskCodec(64, 28, None)}) == 3
    codec.encode(np.ones((28, 28)))
    for same in (pickle.loads(pickle.dumps(codec)), copy.copy(codec), copy.deepcopy(codec)):
        assert same == codec
        assert repr(same) == "DCTMaskCodec(num_coefficients=64, mask_size=28, threshold=0.5)"
    assert len(pickle.dumps(codec)) < 200
    assert dataclasses.replace(codec, threshold=None) == DCTMaskCodec(64, 28, None)
    assert dataclasses.asdict(codec) == {
        "num_coefficients": 64,
        "mask_size": 28,
        "threshold": 0.5,
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        codec.mask_size = 5


def test_numbers_of_numpy_are_taken_as_those_of_python():
    codec = DCTMaskCodec(np.int64(64), np.int32(28), np.float32(0.5))
    assert codec == DCTMaskCodec(64, 28, 0.5)
    assert [type(value) for value in dataclasses.astuple(codec)] == [int, int, float]


@pytest.mark.parametrize("threshold", ["midrange", 0.5, None])
def test_the_threshold_is_that_of_the_codec_unless_another_is_given(blobs, threshold):
    vectors = _CODEC.encode(blobs(3, 128))
    expected = _CODEC.decode(vectors, threshold)
    codec = DCTMaskCodec(threshold=threshold)
    np.testing.assert_array_equal(codec.decode(vectors), expected)
    np.testing.assert_array_equal(codec.decode(vectors, OWN), expected)
    np.testing.assert_array_equal(codec.decode(vectors, "isodata"), _CODEC.decode(vectors))


def test_values_other_than_0_and_1_are_taken_as_they_are():
    codec = DCTMaskCodec(1, 2)
    masks = np.array([[[0, 255], [0, 255]], [[3, 1], [200, 200]]], np.uint8)
    np.testing.assert_allclose(codec.encode(masks), masks.sum((1, 2))[:, None] / 2, rtol=1e-6)
    np.testing.assert_allclose(codec.encode(np.array([[-1.0, 0.5], [0, 0]])), [-0.25])


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_mask_with_nan_or_infinity_has_no_finite_vector_and_harms_no_other(blobs, broken):
    masks = blobs(3, 128).astype(np.float32)
    expected = _CODEC.encode(masks)
    masks[1, 3, 4] = broken
    vectors = _CODEC.encode(masks)
    assert not np.isfinite(vectors[1]).any()
    np.testing.assert_array_equal(vectors[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize(
    ("num_coefficients", "mask_size", "message"),
    [
        (0, 128, "num_coefficients must be a positive integer, got 0"),
        (17, 4, "num_coefficients must be at most mask_size ** 2 = 16, got 17"),
        (2.5, 4, "num_coefficients must be a positive integer, got 2.5"),
        (1, 0, "mask_size must be a positive integer, got 0"),
        (1, "128", "mask_size must be a positive integer, got '128'"),
    ],
)
def test_a_codec_that_cannot_be_is_refused(num_coefficients, mask_size, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        DCTMaskCodec(num_coefficients, mask_size)


@pytest.mark.parametrize("shape", [(128,), (2, 128, 127), (28, 28)])
def test_masks_of_the_wrong_shape_are_refused(shape):
    message = f"masks must be [..., 128, 128], got shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        _CODEC.encode(np.zeros(shape))


@pytest.mark.parametrize("shape", [(), (255,), (256, 2)])
def test_vectors_of_the_wrong_length_are_refused(shape):
    message = f"vectors must be [..., 256], got shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        _CODEC.decode(np.zeros(shape))


@pytest.mark.parametrize("threshold", ["otsu", "0.5"])
def test_an_unknown_rule_as_threshold_is_refused(threshold):
    message = f'threshold must be "isodata", "midrange", a number or None, got {threshold!r}'
    with pytest.raises(ValueError, match=re.escape(message)):
        _CODEC.decode(np.zeros(256), threshold=threshold)
    with pytest.raises(ValueError, match=re.escape(message)):
        DCTMaskCodec(threshold=threshold)


@pytest.mark.parametrize("threshold", [float("nan"), np.float32("nan"), [0.5], 1j])
def test_a_threshold_that_is_no_number_is_refused(threshold):
    for use in (_CODEC.decode, lambda _, value: DCTMaskCodec(threshold=value)):
        with pytest.raises(ValueError, match="threshold must be a number or None, got"):
            use(np.zeros(256), threshold)


@pytest.mark.parametrize("size", [0, -1, 2.5, "8"])
def test_a_grid_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match="size must be a positive integer, got"):
        _CODEC.decode(np.zeros(256), size=size)


def test_complex_numbers_are_refused():
    with pytest.raises(ValueError, match="masks must hold bool, integer or float numbers"):
        _CODEC.encode(np.zeros((128, 128), complex))
    with pytest.raises(ValueError, match="vectors must hold bool, integer or float numbers"):
        _CODEC.decode(np.zeros(256, complex))
