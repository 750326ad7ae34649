"""What codecs keep of data sets, and the AP that is left."""

import math
from pathlib import Path

import numpy as np
import pytest

from solq_maskcodec import OWN, DCTMaskCodec, MaskCodec
from solq_maskcodec.dataset.annotations import read_annotations
from solq_maskcodec.dataset.oracle import Encoding, dataset_qualities, dataset_quality

_COCO = (
    Path(__file__).resolve().parents[4].parent
    / "shared/data/coco_val2014_100/annotations/instances_val2014_100.json"
)
_EXACT = DCTMaskCodec(32 * 32, 32, 0.5)


def numbers(quality):
    return (quality.iou, quality.iou_p5, quality.two_class_iou, quality.boundary_iou)


def test_all_coefficients_keep_everything_in_the_box(annotations):
    quality = dataset_quality(_EXACT, annotations)
    for size, count in {"all": 4, "small": 2, "medium": 1, "large": 1}.items():
        assert getattr(quality, size).num_objects == count
        assert numbers(getattr(quality, size)) == (1, 1, 1, 1)
    assert quality.large.image_iou > 0.95


def test_what_is_not_in_its_image_is_left_out_and_missed(annotations):
    quality = dataset_quality(_EXACT, annotations)
    assert quality.num_left_out == 1
    del annotations["annotations"][4]
    without = dataset_quality(_EXACT, annotations)
    assert without.num_left_out == 0
    assert quality.all.iou == without.all.iou
    assert quality.all.ap < without.all.ap


def test_an_object_without_a_pixel_in_its_box_is_left_out(annotations):
    annotations["annotations"][0]["bbox"] = [50, 40, 20, 5]
    quality = dataset_quality(_EXACT, annotations)
    assert quality.num_left_out == 2
    assert quality.small.num_objects == 1


def test_sizes_go_by_the_area_that_the_file_tells(annotations):
    annotations["annotations"][0]["area"] = 9216
    quality = dataset_quality(_EXACT, annotations)
    assert (quality.small.num_objects, quality.large.num_objects) == (1, 2)


def test_a_size_without_objects_has_no_numbers(annotations):
    annotations["annotations"] = annotations["annotations"][:2]
    quality = dataset_quality(_EXACT, annotations)
    assert quality.large.num_objects == 0
    assert math.isnan(quality.large.iou)
    assert math.isnan(quality.large.iou_p5)
    assert math.isnan(quality.large.ap)


def test_fewer_coefficients_keep_less_and_refining_brings_some_back(annotations):
    coarse = DCTMaskCodec(8, 32, 0.5)
    plain = dataset_quality(coarse, annotations).all
    refined = dataset_quality(coarse, annotations, refine=20).all
    assert plain.iou < refined.iou < 1
    assert plain.image_iou < refined.image_iou


def test_codecs_in_one_pass_get_what_each_gets_alone(annotations):
    encodings = [
        Encoding(codec=DCTMaskCodec(16, 32, 0.5)),
        Encoding(codec=DCTMaskCodec(16, 48), refine=5, threshold=0.5),
        Encoding(codec=DCTMaskCodec(64, 32), threshold="midrange"),
    ]
    together = dataset_qualities(encodings, read_annotations(annotations))
    for encoding, quality in zip(encodings, together, strict=True):
        assert quality == dataset_quality(
            encoding.codec, annotations, refine=encoding.refine, threshold=encoding.threshold
        )


def test_a_batch_of_images_gets_what_each_image_gets(annotations, monkeypatch):
    together = dataset_quality(_EXACT, annotations)
    monkeypatch.setattr("solq_maskcodec.dataset.oracle._OBJECTS_PER_BATCH", 1)
    assert dataset_quality(_EXACT, annotations) == together


class Inside(MaskCodec):
    """Knows nothing of a mask: every box is full."""

    num_coefficients = 1
    mask_size = 16

    def encode(self, masks):
        return np.zeros((len(masks), 1))

    def decode(self, vectors, threshold=OWN, size=16):
        assert threshold is OWN
        return np.ones((len(vectors), size, size), bool)


def test_any_codec_has_a_quality(annotations):
    annotations["annotations"] = annotations["annotations"][:1]
    quality = dataset_quality(Inside(), annotations).all
    # An L of 400 pixels in a box of 600.
    assert quality.iou == pytest.approx(400 / 600, abs=0.02)
    assert quality.two_class_iou == quality.iou / 2
    assert quality.image_iou == pytest.approx(400 / 600, abs=0.02)
    assert quality.ap == pytest.approx(0.4)  # IoU 0.50, 0.55, 0.60, 0.65 of ten
    with pytest.raises(ValueError, match="refine must be 0 for Inside"):
        dataset_quality(Inside(), annotations, refine=1)


def test_progress_goes_to_its_end(annotations):
    steps = []
    dataset_quality(_EXACT, annotations, progress=lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert steps[-1] == (4, 4)  # three images and one AP


def test_a_file_without_objects_is_refused(annotations):
    annotations["annotations"] = annotations["annotations"][4:]
    with pytest.raises(
        ValueError, match=r"^annotations: must have an object with a box in its ima"
    ):
        dataset_quality(_EXACT, annotations)


def test_soft_masks_are_refused_before_any_work(annotations):
    annotations["annotations"][0]["segmentation"] = []
    with pytest.raises(ValueError, match="threshold must be a rule or a number to get masks"):
        dataset_quality(_EXACT, annotations, threshold=None)
    with pytest.raises(ValueError, match="annotation id 0: segmentation is broken"):
        dataset_quality(_EXACT, annotations)


@pytest.fixture(scope="module")
def real():
    """The quality by (coefficients, rounds, threshold) of 100 COCO images."""
    if not _COCO.exists():
        pytest.skip(f"{_COCO.name} absent from ../shared/data")
    plans = [(64, 0, 0.5), (64, 10, 0.5), (256, 0, 0.5), (256, 10, 0.5)]
    plans += [(64, 0, "midrange"), (256, 0, "midrange")]
    encodings = [
        Encoding(codec=DCTMaskCodec(number), refine=rounds, threshold=threshold)
        for number, rounds, threshold in plans
    ]
    return dict(zip(plans, dataset_qualities(encodings, read_annotations(_COCO)), strict=True))


def test_real_masks_keep_the_ap_that_was_promised(real):
    assert real[64, 10, 0.5].all.ap >= 0.95
    assert real[256, 10, 0.5].all.ap >= 0.995
    assert real[256, 10, 0.5].all.num_objects == 830


@pytest.mark.parametrize(("number", "expected"), [(64, 0.869), (256, 0.979)])
def test_the_published_rule_gets_the_ap_that_other_code_measured(real, number, expected):
    assert real[number, 0, "midrange"].all.ap == pytest.approx(expected, abs=0.0005)


def test_refining_helps_real_masks_of_every_size(real):
    for size in ("all", "small", "medium", "large"):
        plain, refined = (getattr(real[256, rounds, 0.5], size) for rounds in (0, 10))
        assert refined.iou > plain.iou
        assert refined.iou_p5 > plain.iou_p5
        assert refined.ap > plain.ap
