"""The check of a data set: every kind of defect is found, counted and shown, all in one go."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from solq_train.data.check import check_coco, check_splits
from solq_train.data.defects import DefectKind
from solq_train.data.layout import Split
from solq_train.data.report import DataReport

NOTES_OF_SMALL_SET = {DefectKind.CROWD: 1, DefectKind.NO_ANNOTATIONS: 1}


def check(small_set: Any) -> DataReport:
    return check_coco(small_set.save(), small_set.images)


def counts(report: DataReport) -> dict[DefectKind, int]:
    return {found.kind: found.count for found in report.defects}


def examples(report: DataReport, kind: DefectKind) -> list[str]:
    found = next(found for found in report.defects if found.kind is kind)
    return [example.message for example in found.examples]


def set_annotation(**changes: Any) -> Callable[[Any], None]:
    return lambda small_set: small_set.document["annotations"][0].update(changes)


def set_image(**changes: Any) -> Callable[[Any], None]:
    return lambda small_set: small_set.document["images"][1].update(changes)


def truncate(small_set: Any) -> None:
    path = small_set.images / "a.png"
    path.write_bytes(path.read_bytes()[:-500])


def add_category(small_set: Any) -> None:
    small_set.document["categories"].append({"id": 9, "name": "unused"})


def double_annotation(small_set: Any) -> None:
    again = {**small_set.document["annotations"][0], "id": 99}
    again["segmentation"] = [[2, 3, 12, 3, 12, 11, 7, 11, 2, 11]]
    small_set.document["annotations"].append(again)


def copy_image(small_set: Any) -> None:
    shutil.copy(small_set.images / "a.png", small_set.images / "b.png")


def add_file(small_set: Any) -> None:
    shutil.copy(small_set.images / "a.png", small_set.images / "new.png")


def link_outside(small_set: Any) -> None:
    (small_set.images / "b.png").rename(small_set.folder / "secret.png")
    (small_set.images / "b.png").symlink_to(small_set.folder / "secret.png")


def crowd_of_polygons(small_set: Any) -> None:
    polygon = [[5, 20, 30, 20, 30, 28, 5, 28]]
    small_set.document["annotations"][2]["segmentation"] = polygon


def name_twice(small_set: Any) -> None:
    small_set.document["categories"][0]["name"] = "square"


def duplicate(section: str) -> Callable[[Any], None]:
    return lambda small_set: small_set.document[section][1].update(
        id=small_set.document[section][0]["id"]
    )


def remove_key(small_set: Any) -> None:
    del small_set.document["annotations"][0]["bbox"]


RUNS = {"size": [30, 40], "counts": [1200]}
SPOILS: list[tuple[DefectKind, Callable[[Any], Any], str]] = [
    (DefectKind.MISSING_KEY, remove_key, "annotations[0] (id 1): key 'bbox' is missing"),
    (DefectKind.WRONG_VALUE, set_image(height="30"), "images[1] (id 12): 'height'"),
    (DefectKind.NOT_FINITE, set_annotation(bbox=[0, 0, float("inf"), 1]), "(id 1): 'bbox'"),
    (DefectKind.DUPLICATE_ID, duplicate("images"), "images[1] (id 11): 'id' must be its own"),
    (DefectKind.DUPLICATE_ID, duplicate("annotations"), "annotations[1] (id 1)"),
    (DefectKind.UNKNOWN_IMAGE, set_annotation(image_id=5), "annotations[0] (id 1): 'image_id'"),
    (DefectKind.UNKNOWN_CATEGORY, set_annotation(category_id=5), "(id 1): 'category_id'"),
    (DefectKind.OUTSIDE_FOLDER, set_image(file_name="../b.png"), "got '../b.png'"),
    (DefectKind.BAD_POLYGON, set_annotation(segmentation=[]), "at least one polygon, got none"),
    (DefectKind.BAD_POLYGON, set_annotation(segmentation=[[1, 2, 3, 4]]), "got 4 numbers"),
    (
        DefectKind.RLE_SIZE,
        set_annotation(segmentation={"size": [3, 4], "counts": [12]}),
        "[30, 40], got [3, 4]",
    ),
    (
        DefectKind.RLE_CORRUPT,
        set_annotation(segmentation={"size": [30, 40], "counts": [5]}),
        "must add up to 1200",
    ),
    (
        DefectKind.RLE_CORRUPT,
        set_annotation(segmentation={"size": [30, 40], "counts": "05"}),
        "annotation id 1: counts",
    ),
    (DefectKind.IMAGE_MISSING, set_image(file_name="c.png"), "image id 12 ('c.png')"),
    (DefectKind.IMAGE_UNREADABLE, truncate, "image id 11 ('a.png')"),
    (DefectKind.IMAGE_SIZE, set_image(width=41), "must be 41 x 30"),
    (DefectKind.ZERO_AREA_BOX, set_annotation(bbox=[5, 5, 0, 4]), "got [5.0, 5.0, 0.0, 4.0]"),
    (DefectKind.BOX_OUTSIDE, set_annotation(bbox=[35, 5, 8, 4]), "inside the 40 x 30 pixels"),
    (DefectKind.BOX_OUTSIDE, set_annotation(bbox=[-90, 5, 8, 4]), "got [-90.0, 5.0, 8.0, 4.0]"),
    (DefectKind.EMPTY_MASK, set_annotation(segmentation=RUNS), "at least one pixel"),
    (DefectKind.UNUSED_CATEGORY, add_category, "category id 9 ('unused')"),
    (DefectKind.OUTSIDE_FOLDER, link_outside, "must lie inside the image folder, got 'b.png'"),
    (
        DefectKind.FLAT_POLYGON,
        set_annotation(segmentation=[[2, 3, 12, 3, 12, 11, 2, 11], [2, 3, 4, 5, 6, 7]]),
        "annotation id 1: 'segmentation' must have polygons with an area",
    ),
    (
        DefectKind.MASK_OUTSIDE,
        set_annotation(segmentation=[[31, 3, 47, 3, 47, 8, 31, 8]], bbox=[31, 3, 9, 5], area=80),
        "stay inside the 40 x 30 pixels, got x 31.0 to 47.0 and y 3.0 to 8.0",
    ),
    (
        DefectKind.BOX_MISMATCH,
        set_annotation(bbox=[12, 3, 10, 8]),
        "must be that of the mask, [2.0, 3.0, 10.0, 8.0], got [12.0, 3.0, 10.0, 8.0]",
    ),
    (DefectKind.AREA_MISMATCH, set_annotation(area=800), "about 80 as in the mask, got 800"),
    (DefectKind.NEAR_DUPLICATE, double_annotation, "annotation id 99: must be another object"),
    (DefectKind.DUPLICATE_FILE, set_image(file_name="./a.png"), "image id 11 ('a.png') has it"),
    (DefectKind.DUPLICATE_IMAGE, copy_image, "another picture than image id 11 ('a.png')"),
    (DefectKind.EXTRA_IMAGE, add_file, "new.png: must have a record"),
    (DefectKind.CROWD_POLYGON, crowd_of_polygons, "annotation id 3: in image id 11"),
    (DefectKind.DUPLICATE_NAME, name_twice, "category 'square': 'name' must be its own"),
]


def test_a_sound_set_has_no_errors_but_notes(small_set: Any) -> None:
    report = check(small_set)
    assert counts(report) == NOTES_OF_SMALL_SET
    assert not report.has_errors


@pytest.mark.parametrize(("kind", "spoil", "words"), SPOILS)
def test_each_kind_of_defect_is_found_and_named(
    small_set: Any, kind: DefectKind, spoil: Callable[[Any], Any], words: str
) -> None:
    spoil(small_set)
    report = check(small_set)
    assert counts(report)[kind] == 1
    assert words in examples(report, kind)[0]
    assert report.has_errors == (kind.severity == "error")
    expected = {kind, *NOTES_OF_SMALL_SET, DefectKind.UNUSED_CATEGORY, DefectKind.EXTRA_IMAGE}
    others = counts(report).keys() - expected
    assert not others


def test_no_annotation_file(small_set: Any) -> None:
    report = check_coco(small_set.folder / "gone.json", small_set.images)
    assert counts(report) == {DefectKind.NO_FILE: 1}
    assert report.summary is None
    assert report.has_errors


def test_invalid_json(small_set: Any) -> None:
    small_set.annotations.write_text('{"images": [')
    report = check_coco(small_set.annotations, small_set.images)
    assert counts(report) == {DefectKind.INVALID_JSON: 1}
    assert "line 1 column 13" in examples(report, DefectKind.INVALID_JSON)[0]


def test_no_images(small_set: Any) -> None:
    small_set.document.update(images=[], annotations=[])
    assert counts(check(small_set))[DefectKind.NO_IMAGES] == 1


def test_a_file_that_is_no_image(small_set: Any) -> None:
    (small_set.images / "b.png").write_text("<html>")
    report = check(small_set)
    assert counts(report)[DefectKind.IMAGE_UNREADABLE] == 1
    assert "b.png" in examples(report, DefectKind.IMAGE_UNREADABLE)[0]


def test_all_defects_are_found_at_once(small_set: Any) -> None:
    truncate(small_set)
    set_image(file_name="c.png")(small_set)
    set_annotation(bbox=[5, 5, 0, 4])(small_set)
    del small_set.document["annotations"][1]["area"]
    small_set.document["annotations"][2]["category_id"] = 1
    assert counts(check(small_set)) == {
        DefectKind.MISSING_KEY: 1,
        DefectKind.UNKNOWN_CATEGORY: 1,
        DefectKind.IMAGE_MISSING: 1,
        DefectKind.IMAGE_UNREADABLE: 1,
        DefectKind.ZERO_AREA_BOX: 1,
        DefectKind.NO_ANNOTATIONS: 1,
        DefectKind.UNUSED_CATEGORY: 1,
        DefectKind.EXTRA_IMAGE: 1,
    }


def test_defects_are_counted_and_only_the_first_are_kept(small_set: Any) -> None:
    first = small_set.document["annotations"][0]
    small_set.document["annotations"] = [
        {**first, "id": number, "bbox": [5, 5, 0, 4]} for number in range(20)
    ]
    report = check(small_set)
    assert counts(report)[DefectKind.ZERO_AREA_BOX] == 20
    shown = examples(report, DefectKind.ZERO_AREA_BOX)
    assert [text.split(":")[0] for text in shown] == [f"annotation id {n}" for n in range(12)]


def test_a_part_of_a_pixel_outside_is_no_defect(small_set: Any) -> None:
    corner = [[31.5, 22.2, 40.5, 22.2, 40.5, 30.5, 31.5, 30.5]]
    set_annotation(bbox=[31.5, 22.2, 9, 8.3], segmentation=corner)(small_set)
    assert counts(check(small_set)) == NOTES_OF_SMALL_SET


def test_a_record_of_gigapixels_draws_no_mask(small_set: Any) -> None:
    small_set.document["images"][0].update(height=10**6, width=10**6)
    small_set.document["annotations"] = small_set.document["annotations"][:1]
    assert counts(check(small_set))[DefectKind.IMAGE_SIZE] == 1


def test_summary_counts_the_objects(small_set: Any) -> None:
    small_set.document["annotations"][1]["area"] = 5000
    summary = check(small_set).summary
    assert summary is not None
    assert (summary.num_images, summary.num_empty_images) == (2, 1)
    assert (summary.num_instances, summary.num_crowds) == (2, 1)
    assert (summary.num_small, summary.num_medium, summary.num_large) == (1, 1, 0)
    assert [(item.id, item.name, item.num_instances) for item in summary.categories] == [
        (3, "bar", 1),
        (7, "square", 1),
    ]


def test_progress_goes_from_one_to_all(small_set: Any) -> None:
    calls: list[tuple[int, int]] = []
    check_coco(small_set.save(), small_set.images, lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("annotations", "images", "num_images"),
    [
        ("coco_mini_cc/annotations/instances_train2017.json", "coco_mini_cc/train2017", 92),
        ("coco_mini_cc/annotations/instances_val2017.json", "coco_mini_cc/val2017", 66),
        ("fruits_nuts/annotations/instances_train.json", "fruits_nuts/images", 15),
        ("fruits_nuts/annotations/instances_val.json", "fruits_nuts/images", 3),
        ("dsb2018_mini/annotations/instances_val.json", "dsb2018_mini/images", 40),
    ],
)
def test_real_sets_have_no_defects(
    shared_data: Path, annotations: str, images: str, num_images: int
) -> None:
    report = check_coco(shared_data / annotations, shared_data / images)
    assert all(found.kind.severity == "note" for found in report.defects), report.to_text()
    assert report.summary is not None
    assert report.summary.num_images == num_images


def test_a_picture_in_both_splits_is_found(small_set: Any) -> None:
    split = Split(annotations=small_set.save(), images=small_set.images)
    other = small_set.folder / "other"
    other.mkdir()
    shutil.copy(small_set.images / "a.png", other / "a.png")
    shutil.copy(small_set.images / "b.png", other / "b.png")
    first, second = check_splits([split, Split(annotations=split.annotations, images=other)])
    assert DefectKind.LEAKED_IMAGE not in counts(first)
    assert counts(second)[DefectKind.LEAKED_IMAGE] == 2
    words = "image id 11 ('a.png'): must be another picture than image id 11 ('a.png') of inst"
    assert examples(second, DefectKind.LEAKED_IMAGE)[0].startswith(words)


def test_images_of_the_other_split_in_one_folder_are_not_extra(small_set: Any) -> None:
    document = dict(small_set.document)
    one, two = small_set.folder / "one.json", small_set.folder / "two.json"
    one.write_text(json.dumps({**document, "images": document["images"][:1]}))
    two.write_text(json.dumps({**document, "images": document["images"][1:], "annotations": []}))
    splits = [Split(annotations=file, images=small_set.images) for file in (one, two)]
    assert all(DefectKind.EXTRA_IMAGE not in counts(report) for report in check_splits(splits))


def test_the_annotation_file_alone_can_be_checked(small_set: Any) -> None:
    set_annotation(area=800)(small_set)
    gone = Split(annotations=small_set.save(), images=small_set.folder / "gone")
    (report,) = check_splits([gone], read_images=False)
    assert counts(report) == {**NOTES_OF_SMALL_SET, DefectKind.AREA_MISMATCH: 1}


def test_broken_run_lengths_are_found_without_images(small_set: Any) -> None:
    set_annotation(segmentation={"size": [30, 40], "counts": "05"})(small_set)
    gone = Split(annotations=small_set.save(), images=small_set.folder / "gone")
    (report,) = check_splits([gone], read_images=False, quality_objects=10)
    assert counts(report)[DefectKind.RLE_CORRUPT] == 1
    assert report.quality is not None
    assert report.quality.sizes.all.num_objects == 1


def test_the_ceiling_is_measured_on_a_sample_of_the_objects(shared_data: Path) -> None:
    annotations = shared_data / "coco_mini_cc/annotations/instances_val2017.json"
    split = Split(annotations=annotations, images=shared_data)
    few, many = (
        check_splits([split], read_images=False, num_coefficients=n, quality_objects=100)[0].quality
        for n in (16, 256)
    )
    assert few is not None
    assert many is not None
    assert 20 <= many.sizes.all.num_objects <= 200
    assert few.sizes.all.iou < 0.9 < many.sizes.all.iou
    assert many.table()[0][0] == "objects"
    assert [row[0] for row in many.table()[1:]] == ["all", "small", "medium", "large"]


def test_grey_images_are_no_defect(small_set: Any) -> None:
    Image.fromarray(np.zeros((30, 40), dtype=np.uint8)).save(small_set.images / "b.png")
    assert not check(small_set).has_errors
