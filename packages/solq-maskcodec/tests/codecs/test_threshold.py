import numpy as np
import pytest
import torch

from solq_maskcodec import DCTMaskCodec
from solq_maskcodec.arrays import to_numpy
from solq_maskcodec.codecs.threshold import _isodata, checked_threshold, foreground

_CODEC = DCTMaskCodec()
_SIZES = [(1, 8), (20, 7), (64, 28), (256, 128)]


def test_midrange_follows_the_level_and_contrast_of_a_mask():
    values = np.array([[[0.0, 1, 2, 3], [3, 3, 0, 0], [1.4, 2, 1, 0], [0, 0, 0, 3]]])
    np.testing.assert_array_equal(foreground(values, "midrange"), values > 1.5)
    np.testing.assert_array_equal(foreground(10 * values - 50, "midrange"), values > 1.5)


@pytest.mark.parametrize(("num_coefficients", "size"), _SIZES)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float64])
def test_a_mask_that_fills_its_box_decodes_to_empty_under_midrange_as_published(
    num_coefficients, size, dtype
):
    codec = DCTMaskCodec(num_coefficients, size)
    vectors = codec.encode(torch.ones(1, size, size, dtype=dtype))
    assert not codec.decode(vectors, "midrange").any()
    assert not codec.decode(vectors.numpy(), "midrange").any()


@pytest.mark.parametrize(("num_coefficients", "size"), _SIZES)
@pytest.mark.parametrize("dtype", ["bool", "float32", "float64"])
@pytest.mark.parametrize("threshold", ["isodata", 0.5])
def test_full_masks_stay_full_and_empty_ones_empty(num_coefficients, size, dtype, threshold):
    codec = DCTMaskCodec(num_coefficients, size)
    masks = np.stack([np.ones((size, size), dtype), np.zeros((size, size), dtype)])
    vectors = codec.encode(masks)
    np.testing.assert_array_equal(codec.decode(vectors, threshold), masks)
    np.testing.assert_array_equal(codec.decode(torch.from_numpy(vectors), threshold), masks)


@pytest.mark.parametrize(
    ("level", "is_full"), [(0.2, False), (0.49, False), (0.51, True), (3, True)]
)
def test_isodata_decides_constant_masks_at_a_half(level, is_full):
    rng = np.random.default_rng(0)
    values = level + rng.uniform(-0.005, 0.005, (2, 16, 16))
    values[1] = level
    assert (foreground(values, "isodata") == is_full).all()


def test_isodata_is_the_default_and_midway_between_the_means_of_its_classes(blobs):
    vectors = _CODEC.encode(blobs(20, 128))
    values = _CODEC.decode(vectors, threshold=None)
    masks = _CODEC.decode(vectors)
    np.testing.assert_array_equal(masks, _CODEC.decode(vectors, "isodata"))
    for image, mask in zip(values, masks, strict=True):
        middle = (image[mask].mean() + image[~mask].mean()) / 2
        assert (mask != (image >= middle)).mean() < 1e-3


def test_isodata_of_a_hand_worked_mask():
    # Midrange 5 → classes {0, 1, 2, 4}, {10}: (1.75 + 10) / 2 = 5.875, which stands.
    values = np.array([[[0.0, 1, 2], [4, 10, 10], [0, 1, 4]]])
    np.testing.assert_array_equal(foreground(values, "isodata"), values == 10)
    # Midrange 5 → means 3.2 and 9 → 6.1 → means 3.7 and 10 → 6.8, which stands.
    values = np.array([[[0.0, 4, 4], [4, 4, 6], [10, 10, 10]]])
    np.testing.assert_array_equal(foreground(values, "midrange"), values > 5)
    np.testing.assert_array_equal(foreground(values - 20, "isodata"), values == 10)


def test_isodata_survives_lost_contrast(blobs):
    masks = blobs(20, 128)
    vectors = _CODEC.encode(masks)
    np.testing.assert_array_equal(
        _CODEC.decode(vectors * 0.5, "isodata"), _CODEC.decode(vectors, "isodata")
    )


@pytest.mark.parametrize("seed", range(3))
def test_isodata_keeps_noisy_full_masks_that_midrange_tears_up(blobs, seed):
    deviations = _CODEC.encode(blobs(200, 128)).std(0)
    noise = np.random.default_rng(seed).standard_normal((20, 256)) * 0.05 * deviations
    vectors = _CODEC.encode(np.ones((20, 128, 128))) + noise
    assert _CODEC.decode(vectors, "isodata").all()
    assert _CODEC.decode(vectors, "midrange").mean() < 0.8


def test_isodata_is_nearer_to_real_masks_than_midrange(real_masks):
    masks = real_masks[::5]

    def mean_iou(threshold):
        decoded = _CODEC.decode(_CODEC.encode(masks), threshold)
        return ((decoded & masks).sum((1, 2)) / (decoded | masks).sum((1, 2))).mean()

    assert mean_iou("isodata") > mean_iou("midrange") > 0.96


@pytest.mark.parametrize("threshold", ["isodata", "midrange", 0.5])
def test_torch_and_numpy_draw_the_same_line(threshold):
    vectors = np.random.default_rng(0).standard_normal((40, 256)).astype(np.float32)
    ours, theirs = (
        _CODEC.decode(vectors, threshold),
        _CODEC.decode(torch.from_numpy(vectors), threshold),
    )
    assert theirs.dtype == torch.bool
    assert (ours != theirs.numpy()).mean() <= 1e-4


@pytest.mark.parametrize("threshold", ["isodata", "midrange", 0.5])
def test_every_library_draws_the_same_line(blobs, to_library, threshold):
    values = DCTMaskCodec(40, 28).decode(DCTMaskCodec(40, 28).encode(blobs(20, 28)), None)
    theirs = to_numpy(foreground(to_library(values), threshold))
    np.testing.assert_array_equal(theirs, foreground(values, threshold))


def in_rounds(values):
    """isodata as it is computed where no number can be looked at: twelve rounds for all masks."""
    pixels = torch.from_numpy(values.reshape(len(values), -1))
    return values >= _isodata(pixels).numpy()[:, None, None]


@pytest.mark.parametrize("num_coefficients", [1, 16, 64, 256, 1024])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_isodata_on_the_host_is_that_in_rounds_of_all_pixels(blobs, num_coefficients, dtype):
    random = np.random.default_rng(0)
    codec = DCTMaskCodec(num_coefficients)
    full = np.ones((4, 128, 128), bool)
    plain = codec.encode(np.concatenate([blobs(32, 128), full, ~full]))
    noise = random.standard_normal(plain.shape)
    noisy = plain + 0.3 * plain.std(0) * noise
    for vectors in (plain, noisy, noise, 0.3 * noisy, -plain, 1e-3 * plain):
        values = codec.decode(vectors.astype(dtype), None)
        assert (foreground(values, "isodata") != in_rounds(values)).mean() <= 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_isodata_on_the_host_keeps_ties(seed):
    random = np.random.default_rng(seed)
    for levels in range(1, 12):
        values = random.integers(0, levels, (8, 6, 6)).astype(np.float32) / 4
        np.testing.assert_array_equal(foreground(values, "isodata"), in_rounds(values))


def test_isodata_on_the_host_follows_a_threshold_that_goes_far():
    # From 50 down the slope of 0.1, 0.2, 0.4, … to the two classes in one hundred steps or more.
    slope = 100 * 0.85 ** np.arange(100)
    values = np.stack([slope, 100 - slope, slope / 7]).reshape(3, 10, 10).astype(np.float32)
    np.testing.assert_array_equal(foreground(values, "isodata"), in_rounds(values))


@pytest.mark.parametrize("threshold", ["isodata", "midrange", 0.5])
def test_broken_values_harm_no_other_mask(blobs, threshold):
    codec = DCTMaskCodec(64, 28)
    values = codec.decode(codec.encode(blobs(5, 28)), None)
    expected = foreground(values, threshold)
    values[1, 3, 3] = np.nan
    values[2, 3, 3] = np.inf
    values[3, 3, 3:5] = np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        masks = foreground(values, threshold)
    np.testing.assert_array_equal(masks[[0, 4]], expected[[0, 4]])


def test_foreground_may_be_put_into_an_array(blobs):
    values = blobs(2, 9) * 0.75
    for threshold in ("isodata", "midrange", 0.5):
        into = np.empty(values.shape, np.bool_)
        assert foreground(values, threshold, into) is into
        np.testing.assert_array_equal(into, foreground(values, threshold))


def test_thresholds_are_rules_numbers_or_none():
    assert [checked_threshold(value) for value in ("isodata", 1, np.float32(0.5), None)] == [
        "isodata",
        1.0,
        0.5,
        None,
    ]
    with pytest.raises(ValueError, match='threshold must be "isodata", "midrange", a number or No'):
        checked_threshold("mean")
    with pytest.raises(ValueError, match="threshold must be a number or None, got nan"):
        checked_threshold(float("nan"))
