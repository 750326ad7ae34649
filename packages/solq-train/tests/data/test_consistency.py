"""Contradictions of records: what is one, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from solq_train.data import read_coco
from solq_train.data.consistency import consistency_defects
from solq_train.data.defects import DefectKind


def kinds(small_set: Any) -> list[DefectKind]:
    defects, _ = consistency_defects(read_coco(small_set.save()))
    notes = (DefectKind.CROWD, DefectKind.NO_ANNOTATIONS)
    return [defect.kind for defect in defects if defect.kind not in notes]


def change(small_set: Any, **changes: Any) -> None:
    small_set.document["annotations"][0].update(changes)


def add(small_set: Any, **changes: Any) -> None:
    again = {**small_set.document["annotations"][0], "id": 50, **changes}
    small_set.document["annotations"].append(again)


def test_a_sound_file_has_no_contradictions(small_set: Any) -> None:
    assert kinds(small_set) == []


def test_defects_know_the_image_and_the_objects_they_are_about(small_set: Any) -> None:
    add(small_set)
    (defect,) = [
        defect
        for defect in consistency_defects(read_coco(small_set.save()))[0]
        if defect.kind is DefectKind.NEAR_DUPLICATE
    ]
    assert (defect.image_id, defect.annotation_ids) == (11, (1, 50))


@pytest.mark.parametrize(
    "other",
    [{"category_id": 3}, {"image_id": 12}, {"segmentation": [[2, 3, 12, 3, 12, 7, 2, 7]]}],
)
def test_the_same_place_in_another_category_image_or_shape_is_no_double(
    small_set: Any, other: dict[str, Any]
) -> None:
    add(small_set, **other)
    assert DefectKind.NEAR_DUPLICATE not in kinds(small_set)


def test_each_double_is_told_once(small_set: Any) -> None:
    for number in range(50, 150):
        add(small_set, id=number)
    assert kinds(small_set).count(DefectKind.NEAR_DUPLICATE) == 100


def test_numbers_beyond_all_images_are_found_and_do_no_harm(small_set: Any) -> None:
    change(small_set, bbox=[1e308, 0, 1e308, 5])
    small_set.document["images"][0].update(height=2**31 - 1, width=2**31 - 1)
    small_set.document["annotations"] = small_set.document["annotations"][:1]
    add(small_set, area=1e300)
    assert set(kinds(small_set)) == {
        DefectKind.BOX_OUTSIDE,
        DefectKind.AREA_MISMATCH,
        DefectKind.NEAR_DUPLICATE,
    }


def test_overlapping_parts_may_have_the_area_of_their_union(small_set: Any) -> None:
    square = [2, 3, 12, 3, 12, 11, 2, 11]
    change(small_set, segmentation=[square, square], area=80)
    assert kinds(small_set) == []
    change(small_set, area=160)
    assert kinds(small_set) == []
    change(small_set, area=400)
    assert kinds(small_set) == [DefectKind.AREA_MISMATCH]


def test_a_box_around_the_pixels_is_no_mismatch(small_set: Any) -> None:
    # Long thin corners cover no pixel's centre.
    spikes = [2, 3, 12, 3, 12, 3.2, 12, 11, 2, 11, 2, 7.2, -0.5, 7.1, 2, 7]
    change(small_set, segmentation=[spikes])
    assert kinds(small_set) == []
    change(small_set, bbox=[-0.5, 3, 12.5, 8])
    assert kinds(small_set) == []


def test_crowds_may_have_any_area(small_set: Any) -> None:
    small_set.document["annotations"][2]["area"] = 5
    assert kinds(small_set) == []


def test_a_file_without_annotations_has_no_contradictions(small_set: Any) -> None:
    small_set.document["annotations"] = []
    assert kinds(small_set) == []
