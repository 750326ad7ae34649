"""Parts of a set: shares, rare categories, determinism, and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from solq_train.data import find_split, read_coco
from solq_train.data.coco import CocoAnnotation, CocoImage
from solq_train.data.defects import DataError
from solq_train.data.split import split_images, write_split


def image(number: int, *categories: int, folder: str = "") -> CocoImage:
    items = tuple(
        CocoAnnotation(
            id=100 * number + index,
            category_id=category,
            bbox_xywh=(0, 0, 4, 4),
            segmentation=[[0, 0, 4, 0, 4, 4, 0, 4]],
            area=16,
            is_crowd=False,
        )
        for index, category in enumerate(categories)
    )
    name = f"{folder}{number:03d}.jpg"
    return CocoImage(id=number, file_name=name, height=8, width=8, annotations=items)


def test_every_image_is_in_one_part_and_the_share_is_kept() -> None:
    images = [image(number, number % 3) for number in range(300)]
    parts = split_images(images, 0.2, seed=0)
    assert sorted(parts.train + parts.val) == list(range(300))
    assert len(parts.val) == 60
    for category in range(3):
        assert sum(number % 3 == category for number in parts.val) == 20


def test_rare_categories_are_in_both_parts_if_two_images_have_them() -> None:
    images = [image(number, 1) for number in range(50)]
    images += [image(100, 1, 2), image(101, 2), image(102, 3), image(103, 1, 4), image(104, 4, 1)]
    parts = split_images(images, 0.1, seed=5)
    for part in (parts.train, parts.val):
        found = {
            item.category_id for entry in images if entry.id in part for item in entry.annotations
        }
        assert found >= {1, 2, 4}
    assert 102 in parts.train, "the only image of a category is to be learned"


def test_parts_depend_on_names_and_seed_and_not_on_the_order() -> None:
    images = [image(number, number % 5) for number in range(60)]
    first = split_images(images, 0.3, seed=1)
    again = split_images(images[::-1], 0.3, seed=1)
    assert set(first.val) == set(again.val)
    assert set(first.val) != set(split_images(images, 0.3, seed=2).val)


def test_images_of_a_folder_stay_together() -> None:
    images = [image(n, n % 2, folder=f"video{n // 10}/") for n in range(100)]
    parts = split_images(images, 0.3, seed=0, by_folder=True)
    assert not {n // 10 for n in parts.train} & {n // 10 for n in parts.val}
    assert len(parts.val) % 10 == 0
    assert 20 <= len(parts.val) <= 40


def test_images_without_objects_are_divided_too() -> None:
    parts = split_images([image(number) for number in range(10)], 0.2, seed=0)
    assert len(parts.val) == 2


@pytest.mark.parametrize("val", [0, 1, -0.5, float("nan")])
def test_shares_that_leave_a_part_empty_are_refused(val: float) -> None:
    with pytest.raises(ValueError, match="val must be a share between 0 and 1"):
        split_images([image(1), image(2)], val, seed=0)


def test_one_image_or_folder_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match="at least 2 images to split, got 1"):
        split_images([image(1)], 0.5, seed=0)
    with pytest.raises(ValueError, match="at least 2 folders to split, got 1"):
        split_images([image(1), image(2)], 0.5, seed=0, by_folder=True)


def test_entries_keep_ids_and_keys_and_images_are_no_copies(small_set: Any) -> None:
    small_set.document["images"][0]["license"] = 3
    small_set.document["info"] = {"year": 2026}
    output = small_set.folder / "parts"
    parts = write_split(small_set.save(), small_set.images, output, val=0.5)
    entries = []
    for name, ids in parts.items():
        split = find_split(output, name)
        document = json.loads(split.annotations.read_text())
        assert document["info"] == {"year": 2026}
        assert document["categories"] == small_set.document["categories"]
        assert [entry["id"] for entry in document["images"]] == list(ids)
        for record in read_coco(split.annotations).images:
            assert (split.images / record.file_name).samefile(small_set.images / record.file_name)
        entries += document["images"] + document["annotations"]
    original = small_set.document["images"] + small_set.document["annotations"]
    assert sorted(map(json.dumps, entries)) == sorted(map(json.dumps, original))


def test_nothing_is_left_behind_if_an_image_is_missing(small_set: Any) -> None:
    (small_set.images / "b.png").unlink()
    before = sorted(small_set.folder.rglob("*"))
    with pytest.raises(DataError, match=r"b\.png: no such image file"):
        write_split(small_set.annotations, small_set.images, small_set.folder / "parts", val=0.5)
    assert sorted(small_set.folder.rglob("*")) == before


def test_a_folder_with_files_is_not_overwritten(small_set: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a new or empty folder"):
        write_split(small_set.annotations, small_set.images, tmp_path, val=0.5)


def test_a_file_that_is_recorded_twice_is_linked_once(small_set: Any) -> None:
    again = {**small_set.document["images"][0], "id": 13}
    small_set.document["images"] += [again, {**again, "id": 14}, {**again, "id": 15}]
    output = small_set.folder / "parts"
    parts = write_split(small_set.save(), small_set.images, output, val=0.5)
    assert len(parts.train + parts.val) == 5
