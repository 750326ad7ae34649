"""AP of masks by COCO's rules, and what of COCOeval would spoil it."""

import sys

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from solq_maskcodec import masks_to_rle, rle_to_masks
from solq_maskcodec.dataset.annotations import read_annotations
from solq_maskcodec.dataset.coco_eval import (
    ground_truth,
    mask_ap,
    object_area,
    require_pycocotools,
    rle_ious,
    size_of,
)


def rles_of(file):
    return {item.id: file.rle(image, item) for image in file.images for item in image.objects}


def perfect_results(file, rles):
    return [
        {
            "image_id": image.id,
            "category_id": item.category_id,
            "segmentation": rles[item.id],
            "score": 1.0,
        }
        for image in file.images
        for item in image.objects
        if not item.is_crowd
    ]


@pytest.fixture
def file(annotations):
    """The objects but the one outside its image, whose mask is empty and cannot be found."""
    del annotations["annotations"][4]
    return read_annotations(annotations)


def test_the_objects_themselves_have_an_ap_of_1_also_the_one_with_id_0(file):
    rles = rles_of(file)
    found = mask_ap(ground_truth(file, rles), perfect_results(file, rles))
    assert [*found] == ["all", "small", "medium", "large"]
    for ap in found.values():
        assert tuple(ap) == pytest.approx((1, 1, 1))


def test_an_iou_between_two_thresholds_counts_up_to_the_lower_one(file):
    rles = rles_of(file)
    results = perfect_results(file, rles)
    (mask,) = rle_to_masks([rles[2]])
    mask[:, np.cumsum(mask.sum(axis=0)) < 0.28 * mask.sum()] = False
    (results[2]["segmentation"],) = masks_to_rle(mask[None])
    found = mask_ap(ground_truth(file, rles), results)
    assert found["large"].ap == pytest.approx(0.5)  # 0.50, 0.55, 0.60, 0.65, 0.70
    assert found["large"].ap50 == pytest.approx(1)
    assert found["large"].ap75 == 0
    assert found["small"].ap == pytest.approx(1)


def test_a_missed_object_of_another_size_counts_there_alone(file):
    rles = rles_of(file)
    results = [result for result in perfect_results(file, rles) if result["image_id"] == 8]
    found = mask_ap(ground_truth(file, rles), results)
    assert found["medium"].ap == pytest.approx(1)
    assert found["large"].ap == 0
    assert 0 < found["all"].ap < 1


def test_where_there_is_no_object_there_is_no_ap(annotations):
    annotations["annotations"] = annotations["annotations"][:1]
    file = read_annotations(annotations)
    rles = rles_of(file)
    found = mask_ap(ground_truth(file, rles), perfect_results(file, rles))
    assert found["small"].ap == pytest.approx(1)
    assert np.isnan(found["large"].ap)


def test_more_objects_than_coco_looks_at_all_count():
    entries = [
        {
            "id": number,
            "image_id": 1,
            "category_id": 1,
            "segmentation": [[x, y, x + 4, y, x + 4, y + 4, x, y + 4]],
            "bbox": [x, y, 4, 4],
        }
        for number, (x, y) in enumerate((6 * (n % 20), 6 * (n // 20)) for n in range(130))
    ]
    file = read_annotations(
        {
            "images": [{"id": 1, "height": 120, "width": 120}],
            "categories": [{"id": 1}],
            "annotations": entries,
        }
    )
    rles = rles_of(file)
    found = mask_ap(ground_truth(file, rles), perfect_results(file, rles))
    assert found["all"].ap == pytest.approx(1)


def test_sizes_are_coco_s():
    assert [size_of(area) for area in (0, 1023.9, 1024, 9215, 9216, 1e6)] == [
        "small",
        "small",
        "medium",
        "medium",
        "large",
        "large",
    ]


def test_an_area_is_the_file_s_or_that_of_the_pixels(annotations):
    annotations["annotations"][0]["area"] = 12.5
    file = read_annotations(annotations)
    rles = rles_of(file)
    first, second = file.images[0].objects[:2]
    assert object_area(first, rles[0]) == 12.5
    assert object_area(second, rles[1]) == coco_masks.area(rles[1])


def test_ious_are_those_of_pairs(annotations):
    file = read_annotations(annotations)
    rles = rles_of(file)
    (empty,) = masks_to_rle(np.zeros((1, 60, 80), bool))
    found = rle_ious([rles[0], rles[0], rles[1], empty], [rles[0], rles[1], rles[1], empty])
    np.testing.assert_array_equal(found, [1, 0, 1, 0])


def test_without_pycocotools_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ImportError, match=r'needs pycocotools: pip install "solq-maskcodec\[coco'):
        require_pycocotools()


def test_pycocotools_prints_nothing(file, capsys):
    rles = rles_of(file)
    mask_ap(ground_truth(file, rles), perfect_results(file, rles))
    assert capsys.readouterr().out == ""
