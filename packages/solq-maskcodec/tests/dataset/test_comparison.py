"""Codecs side by side on one data set."""

import json

import numpy as np
import pytest

from solq_maskcodec.dataset.annotations import read_annotations
from solq_maskcodec.dataset.comparison import compare_codecs


def many_triangles(num_images):
    """Images with two triangles each, no two of them alike."""
    moves = np.random.default_rng(0).integers(0, 20, (2 * num_images, 6))
    corners = (np.array([4, 4, 40, 4, 20, 40]) + moves).tolist()
    entries = [
        {
            "id": number,
            "image_id": number // 2,
            "category_id": 1,
            "segmentation": [corners[number]],
            "bbox": [0, 0, 64, 64],
        }
        for number in range(2 * num_images)
    ]
    return read_annotations(
        {
            "images": [{"id": number, "height": 64, "width": 64} for number in range(num_images)],
            "categories": [{"id": 1}],
            "annotations": entries,
        }
    )


def lines(comparison):
    return [(row.name, row.num_coefficients) for row in comparison.codecs]


def test_each_codec_is_measured_at_each_length():
    comparison = compare_codecs(
        many_triangles(8), ["dct", "pca", "efd"], [8, 16], refine=[0, 2], mask_size=16
    )
    assert lines(comparison) == [
        ("DCT", 8),
        ("DCT, refine=2", 8),
        ("PCA", 8),
        ("elliptic Fourier", 6),
        ("DCT", 16),
        ("DCT, refine=2", 16),
        ("PCA", 16),
        ("elliptic Fourier", 14),
    ]


def test_pca_is_fitted_to_other_images_than_all_are_measured_on():
    comparison = compare_codecs(
        many_triangles(8), ["dct", "pca"], [4], mask_size=16, fit_share=0.25
    )
    assert comparison.fitted_on.num_images == 2
    assert comparison.fitted_on.num_masks == 4 * 4  # and their mirror images
    assert (comparison.num_images, comparison.num_objects) == (6, 12)
    for row in comparison.codecs:
        assert row.quality.all.num_objects == 12
    assert "PCA was fitted to 16 masks of 2 other images." in comparison.caption()


def test_without_pca_all_images_are_measured_on():
    comparison = compare_codecs(many_triangles(8), ["dct"], [4], mask_size=16)
    assert comparison.fitted_on is None
    assert comparison.num_objects == 16
    assert comparison.caption() == "annotations: 16 objects in 8 images, threshold 0.5."


def test_many_masks_to_fit_to_are_thinned_evenly(monkeypatch):
    monkeypatch.setattr("solq_maskcodec.dataset.comparison._MOST_FITTED_MASKS", 5)
    comparison = compare_codecs(many_triangles(12), ["pca"], [2], mask_size=16)
    assert comparison.fitted_on.num_images == 6
    assert comparison.fitted_on.num_masks == 4  # every third of 12, no mirror images


def test_lengths_that_pca_has_too_few_masks_for_are_left_out():
    comparison = compare_codecs(many_triangles(2), ["dct", "pca"], [4, 64], mask_size=16)
    assert lines(comparison) == [("DCT", 4), ("PCA", 4), ("DCT", 64)]
    comparison = compare_codecs(many_triangles(2), ["dct", "pca"], [64], mask_size=16)
    assert lines(comparison) == [("DCT", 64)]


def test_the_threshold_is_every_codec_s():
    file = many_triangles(6)
    fixed = compare_codecs(file, ["dct", "pca"], [8], mask_size=16)
    rule = compare_codecs(file, ["dct", "pca"], [8], mask_size=16, threshold="midrange")
    for one, other in zip(fixed.codecs, rule.codecs, strict=True):
        assert one.quality != other.quality


def test_json_has_null_where_there_is_no_number():
    content = compare_codecs(many_triangles(2), ["dct"], [8], mask_size=16).to_json()
    content = json.loads(json.dumps(content, allow_nan=False))
    (row,) = content["codecs"]
    assert (row["codec"], row["num_coefficients"], row["refine"]) == ("dct", 8, 0)
    assert row["quality"]["large"]["iou"] is None
    assert 0 < row["quality"]["small"]["iou"] <= 1


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_a_share_has_to_leave_some_on_both_sides(share):
    with pytest.raises(ValueError, match="fit_share must be between 0 and 1, got"):
        compare_codecs(many_triangles(4), ["pca"], [4], mask_size=16, fit_share=share)


def test_one_image_cannot_be_fitted_to_and_measured_on():
    message = "must have more than 4 different masks in fit_share = 0.9 of its images to fit PCA"
    with pytest.raises(ValueError, match=message):
        compare_codecs(many_triangles(1), ["pca"], [4], mask_size=16, fit_share=0.9)
