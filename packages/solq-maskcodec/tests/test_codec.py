import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn

from solq_maskcodec import DCTMaskCodec, zigzag_order

_CODEC = DCTMaskCodec()


@st.composite
def codecs(draw):
    size = draw(st.integers(1, 24))
    return DCTMaskCodec(num_coefficients=draw(st.integers(1, size**2)), mask_size=size)


def intersection_over_union(masks, others):
    return (masks & others).sum((1, 2)) / (masks | others).sum((1, 2))


def test_vectors_equal_the_published_ones(published):
    vectors = _CODEC.encode(published.masks)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, published.vectors, rtol=0, atol=1e-4)


def test_decoded_masks_equal_the_published_ones_but_for_a_pixel_in_10000(published):
    different = _CODEC.decode(published.vectors, "midrange") != published.decoded
    assert different.mean() <= 1e-4
    ours = _CODEC.decode(_CODEC.encode(published.masks), "midrange")
    assert (ours != published.decoded).mean() <= 1e-4


@pytest.mark.parametrize(("size", "num_coefficients"), [(1, 1), (7, 20), (16, 256), (31, 100)])
def test_vectors_are_the_first_numbers_of_a_full_transform(size, num_coefficients):
    masks = np.random.default_rng(0).random((4, size, size))
    spectra = dctn(masks, axes=(1, 2), norm="ortho").reshape(4, -1)
    expected = spectra[:, zigzag_order(size)[:num_coefficients]]
    codec = DCTMaskCodec(num_coefficients, size)
    np.testing.assert_allclose(codec.encode(masks), expected, atol=1e-12)


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
def test_torch_gives_what_numpy_gives(codec, seed, dtype):
    masks = (
        np.random.default_rng(seed).random((3, codec.mask_size, codec.mask_size)) > 0.5
    ).astype(dtype)
    vectors, tensors = codec.encode(masks), codec.encode(torch.from_numpy(masks))
    assert tensors.numpy().dtype == vectors.dtype
    np.testing.assert_allclose(tensors.numpy(), vectors, atol=1e-4)
    values = codec.decode(torch.from_numpy(vectors), threshold=None)
    np.testing.assert_allclose(values.numpy(), codec.decode(vectors, threshold=None), atol=1e-4)


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
def test_half_precision_is_computed_in_single(blobs, dtype):
    masks = torch.from_numpy(blobs(3, 128))
    vectors = _CODEC.encode(masks.to(dtype))
    torch.testing.assert_close(vectors, _CODEC.encode(masks), rtol=0, atol=0)
    values = _CODEC.decode(vectors.to(dtype), threshold=None)
    assert values.dtype == torch.float32
    expected = _CODEC.decode(vectors.to(dtype).float(), threshold=None)
    torch.testing.assert_close(values, expected, rtol=0, atol=0)


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


def test_codecs_are_values():
    assert DCTMaskCodec() == DCTMaskCodec(256, 128)
    assert pickle.loads(pickle.dumps(_CODEC)) == _CODEC
    assert len({DCTMaskCodec(), DCTMaskCodec(256, 128), DCTMaskCodec(64, 28)}) == 2


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


@pytest.mark.parametrize(("argument", "value"), [("threshold", float("nan")), ("size", 0)])
def test_other_arguments_out_of_range_are_refused_by_name(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be"):
        _CODEC.decode(np.zeros(256), **{argument: value})
