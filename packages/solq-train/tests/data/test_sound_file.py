"""The fast way to read an annotation file takes what the slow way finds sound, and nothing else."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from solq_train.data.coco import parse_coco, read_coco
from solq_train.data.index import CocoImages, indexed
from solq_train.data.sound_file import read_sound_file

SOUND: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "b.png", "height": 5, "width": 8, "license": 3},
        {"id": 3, "file_name": "sub/a.png", "height": 4, "width": 4},
        {"id": 9, "file_name": "c.png", "height": 5, "width": 8},
    ],
    "annotations": [
        {
            "id": 0,
            "image_id": 9,
            "category_id": 5,
            "bbox": [1, 1.5, 2, 2],
            "area": 4,
            "iscrowd": 0,
            "segmentation": [[0, 0, 2.5, 0, 2.5, 3], [1, 1, 2, 1, 2, 2]],
        },
        {
            "id": 12,
            "image_id": 7,
            "category_id": 1,
            "bbox": [0, 0, 8, 5],
            "area": 40.0,
            "iscrowd": 1,
            "segmentation": {"size": [5, 8], "counts": [10, 30]},
        },
        {
            "id": 4,
            "image_id": 9,
            "category_id": 1,
            "bbox": [0, 0, 8, 5],
            "area": 40.0,
            "segmentation": {"size": [5, 8], "counts": "0X1"},
        },
    ],
    "categories": [{"id": 5, "name": "five", "color": [1, 2]}, {"id": 1, "name": "one"}],
}


def write(folder: Path, document: object) -> Path:
    path = folder / "instances.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def slowly(path: Path) -> Any:
    """The records of the slow way, or None where it finds a defect."""
    defects: list[object] = []
    coco = parse_coco(path, defects.append)
    return None if defects else coco


def test_a_sound_file_has_the_same_records_either_way(tmp_path):
    path = write(tmp_path, SOUND)
    found = read_sound_file(path)
    assert found is not None
    index, categories = found
    expected = slowly(path)
    assert list(CocoImages(index)) == list(expected.images)
    assert categories == expected.categories
    assert [[a.id for a in image.annotations] for image in CocoImages(index)] == [[12], [], [0, 4]]
    assert read_coco(path).images == indexed(expected.images)


def changed(place: str, value: object) -> dict[str, Any]:
    """The sound document with another value at a place such as `annotations.0.id`."""
    document = deepcopy(SOUND)
    *parents, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    entry: Any = document
    for key in parents:
        entry = entry[key]
    if value is ...:
        del entry[last]
    else:
        entry[last] = value
    return document


VALUES = (
    None,
    True,
    0,
    1,
    -1,
    3,
    1.0,
    2**31,
    2**80,
    1e300,
    "",
    "a",
    "../a",
    "a\0",
    "/a",
    "C:\\a",
    [],
    {},
    [[]],
    [1, 2],
    [0, 0, 1, 1],
    [0, 0, "1", 1],
    [[0, 0, 1, 1]],
    [[0, 0, 1, 0, 1, 1]],
    [[0, 0, 1, 0, 1]],
    [[0, 0, 1, 0, 1, None]],
    [[0, 0, 1, 0, 1, True]],
    [[0, 0, 1, 0, 1, 1e6]],
    [[0, 0, 1, 0, 1, -1e6]],
    [[0, 0, 1, 0, 1, 2**80]],
    {"size": [5, 8], "counts": [40]},
    {"size": [5, 8], "counts": [39]},
    {"size": [8, 5], "counts": [40]},
    {"size": [5, 8]},
    ...,
)
PLACES = [
    *(f"images.1.{key}" for key in ("id", "file_name", "height", "width")),
    *(
        f"annotations.0.{key}"
        for key in ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation")
    ),
    *("categories.1.id", "categories.1.name", "images", "annotations", "categories"),
    *("images.0", "annotations.0", "categories.0"),
]


@pytest.mark.parametrize("place", PLACES)
def test_whatever_stands_in_a_place_the_fast_way_takes_no_file_that_the_slow_way_refuses(
    tmp_path, place
):
    for value in VALUES:
        path = write(tmp_path, changed(place, value))
        found, expected = read_sound_file(path), slowly(path)
        if expected is None:
            assert found is None, (place, value)
        elif found is not None:
            assert list(CocoImages(found[0])) == list(expected.images), (place, value)
            assert found[1] == expected.categories


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "NaN",
        json.dumps(SOUND).replace("40.0", "NaN"),
        json.dumps(SOUND).replace("40.0", "Infinity"),
        json.dumps(SOUND).replace("2.5", "1e999"),
        json.dumps(SOUND) + "x",
        "[" * 100_000,
    ],
)
def test_what_is_no_json_of_finite_numbers_is_left_to_the_slow_way(tmp_path, text):
    path = tmp_path / "instances.json"
    path.write_text(text)
    assert read_sound_file(path) is None
    assert slowly(path) is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_encodings_are_read_the_slow_way(tmp_path, encoding):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(SOUND), encoding=encoding)
    assert read_sound_file(path) is None
    assert [image.id for image in read_coco(path).images] == [7, 3, 9]


def test_a_missing_file_is_left_to_the_slow_way(tmp_path):
    assert read_sound_file(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [5, 8], "counts": "\ud800"},
        {"size": [5, 8], "counts": [40], "score": float("inf")},
        {"size": [5, 8], "counts": [40], "score": 2**80},
    ],
)
def test_what_only_the_slow_way_reads_stays_as_it_is_in_columns(tmp_path, segmentation):
    path = write(tmp_path, changed("annotations.0.segmentation", segmentation))
    assert list(read_coco(path).images) == list(slowly(path).images)


def test_a_file_without_annotations_or_categories_is_sound(tmp_path):
    path = write(tmp_path, {**SOUND, "annotations": [], "categories": []})
    found = read_sound_file(path)
    assert found is not None
    assert list(CocoImages(found[0])) == list(slowly(path).images)


def test_ids_of_more_than_64_bits_are_told_apart(tmp_path):
    document = deepcopy(SOUND)
    for image in document["images"]:
        image["id"] += 2**70
    for annotation in document["annotations"]:
        annotation["image_id"] += 2**70
    path = write(tmp_path, document)
    assert read_coco(path).images == indexed(slowly(path).images)
