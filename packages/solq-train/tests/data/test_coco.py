"""Annotation file → records, and every reason to refuse one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from solq_train.data.coco import annotation_mask, parse_coco, read_coco
from solq_train.data.defects import DataError, Defect, DefectKind


def test_records_hold_everything_of_the_file(small_set: Any) -> None:
    coco = read_coco(small_set.annotations)
    assert coco.path == small_set.annotations
    assert [image.id for image in coco.images] == [11, 12]
    assert [item.id for item in coco.images[0].annotations] == [1, 2, 3]
    assert coco.images[1].annotations == ()
    assert coco.categories == [{"id": 3, "name": "bar"}, {"id": 7, "name": "square"}]
    first = coco.images[0].annotations[0]
    assert first.bbox_xywh == (2.0, 3.0, 10.0, 8.0)
    assert (first.category_id, first.area) == (7, 80.0)


def test_crowds_are_kept_and_a_missing_iscrowd_means_none(small_set: Any) -> None:
    items = read_coco(small_set.annotations).images[0].annotations
    assert [item.is_crowd for item in items] == [False, False, True]


def test_annotations_go_to_their_image_whatever_their_order(small_set: Any) -> None:
    small_set.document["annotations"][1]["image_id"] = 12
    coco = read_coco(small_set.save())
    assert [[item.id for item in image.annotations] for image in coco.images] == [[1, 3], [2]]


def test_masks_of_the_annotations_have_their_area(small_set: Any) -> None:
    items = read_coco(small_set.annotations).images[0].annotations
    assert [int(annotation_mask(item, (30, 40)).sum()) for item in items] == [80, 84, 200]


def test_mask_for_another_size_names_annotation_and_sizes(small_set: Any) -> None:
    item = read_coco(small_set.annotations).images[0].annotations[1]
    with pytest.raises(DataError, match=r"annotation id 2: .*\[31, 40\], got \[30, 40\]"):
        annotation_mask(item, (31, 40))


def test_mask_of_a_broken_string_names_the_annotation(small_set: Any) -> None:
    small_set.document["annotations"][1]["segmentation"]["counts"] = "05"
    item = read_coco(small_set.save()).images[0].annotations[1]
    with pytest.raises(DataError, match="annotation id 2: counts"):
        annotation_mask(item, (30, 40))


def test_polygon_mask_ignores_what_is_outside(small_set: Any) -> None:
    item = read_coco(small_set.annotations).images[0].annotations[0]
    mask = annotation_mask(item, (8, 6))
    assert mask.shape == (8, 6)
    np.testing.assert_array_equal(np.argwhere(mask).min(axis=0), [3, 2])


def test_no_file(small_set: Any) -> None:
    path = small_set.folder / "nothing.json"
    with pytest.raises(DataError, match=r"nothing\.json: no such annotation file"):
        read_coco(path)


def test_folder_instead_of_a_file(small_set: Any) -> None:
    with pytest.raises(DataError, match="images: cannot be read"):
        read_coco(small_set.images)


def test_invalid_json_names_line_and_column(small_set: Any) -> None:
    small_set.annotations.write_text('{"images": [],\n "annotations": [}')
    with pytest.raises(DataError, match=r"instances\.json: line 2 column 18: must be JSON"):
        read_coco(small_set.annotations)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[" * 200_000, b"[1, 2]", b"null"])
def test_what_is_no_json_object_is_refused(small_set: Any, content: bytes) -> None:
    small_set.annotations.write_bytes(content)
    with pytest.raises(DataError, match=r"instances\.json: .*must be"):
        read_coco(small_set.annotations)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_section(small_set: Any, key: str) -> None:
    del small_set.document[key]
    with pytest.raises(DataError, match=rf"instances\.json: top level: key '{key}' is missing"):
        read_coco(small_set.save())


@pytest.mark.parametrize("key", ["id", "image_id", "category_id", "bbox", "area", "segmentation"])
def test_missing_key_of_an_annotation(small_set: Any, key: str) -> None:
    del small_set.document["annotations"][2][key]
    with pytest.raises(DataError, match=rf"annotations\[2\].*: key '{key}' is missing"):
        read_coco(small_set.save())


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_duplicate_ids(small_set: Any, section: str) -> None:
    entries = small_set.document[section]
    entries[1]["id"] = entries[0]["id"]
    with pytest.raises(DataError, match=rf"{section}\[1\] .*{section}\[0\] .* has it already"):
        read_coco(small_set.save())


def test_unknown_image(small_set: Any) -> None:
    small_set.document["annotations"][1]["image_id"] = 99
    with pytest.raises(DataError, match=r"annotations\[1\] \(id 2\): 'image_id' .* got 99"):
        read_coco(small_set.save())


def test_unknown_category(small_set: Any) -> None:
    small_set.document["annotations"][1]["category_id"] = 1
    with pytest.raises(DataError, match=r"annotations\[1\] \(id 2\): 'category_id' .* got 1"):
        read_coco(small_set.save())


def test_no_images(small_set: Any) -> None:
    small_set.document["images"] = []
    with pytest.raises(DataError, match="images: must have at least one entry"):
        read_coco(small_set.save())


def test_empty_polygon(small_set: Any) -> None:
    small_set.document["annotations"][0]["segmentation"] = []
    with pytest.raises(DataError, match=r"annotations\[0\] \(id 1\): .* at least one polygon"):
        read_coco(small_set.save())


def test_run_lengths_of_the_wrong_size(small_set: Any) -> None:
    small_set.document["annotations"][2]["segmentation"]["size"] = [40, 30]
    with pytest.raises(DataError, match=r"annotations\[2\] .*\[30, 40\], got \[40, 30\]"):
        read_coco(small_set.save())


def test_parse_reports_every_defect_and_keeps_the_rest(small_set: Any) -> None:
    small_set.document["annotations"][0]["image_id"] = 99
    small_set.document["annotations"][0]["category_id"] = 98
    del small_set.document["annotations"][1]["bbox"]
    defects: list[Defect] = []
    coco = parse_coco(small_set.save(), defects.append)
    assert coco is not None
    assert [item.id for item in coco.images[0].annotations] == [3]
    assert [defect.kind for defect in defects] == [
        DefectKind.MISSING_KEY,
        DefectKind.UNKNOWN_IMAGE,
        DefectKind.UNKNOWN_CATEGORY,
    ]


def test_a_defective_image_does_not_make_its_annotations_defective(small_set: Any) -> None:
    del small_set.document["images"][0]["width"]
    defects: list[Defect] = []
    coco = parse_coco(small_set.save(), defects.append)
    assert coco is not None
    assert [image.id for image in coco.images] == [12]
    assert [defect.kind for defect in defects] == [DefectKind.MISSING_KEY]


def test_a_missing_section_is_one_defect_only(small_set: Any) -> None:
    del small_set.document["categories"]
    defects: list[Defect] = []
    parse_coco(small_set.save(), defects.append)
    assert len(defects) == 1


def test_annotations_may_be_missing_only_where_that_is_said(small_set: Any) -> None:
    del small_set.document["annotations"]
    path = small_set.save()
    with pytest.raises(DataError, match="key 'annotations' is missing"):
        read_coco(path)
    coco = read_coco(path, annotated=False)
    assert [(image.id, image.annotations) for image in coco.images] == [(11, ()), (12, ())]


def test_annotations_that_are_there_are_read_and_checked_where_they_may_be_missing(
    small_set: Any,
) -> None:
    assert read_coco(small_set.annotations, annotated=False) == read_coco(small_set.annotations)
    small_set.document["annotations"][0]["bbox"] = None
    with pytest.raises(DataError, match="'bbox' must be four numbers"):
        read_coco(small_set.save(), annotated=False)
