"""Annotation files: what is read from them, and what is said about broken ones."""

import json
from itertools import groupby

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from solq_maskcodec import masks_to_rle, rle_to_masks
from solq_maskcodec.dataset.annotations import read_annotations


def test_images_keep_their_objects_in_the_order_of_the_file(annotations):
    file = read_annotations(annotations)
    assert [image.id for image in file.images] == [8, 3, 5]
    assert [[item.id for item in image.objects] for image in file.images] == [
        [0, 1, 5],
        [2, 3, 4],
        [],
    ]
    assert file.images[0].size == (60, 80)
    assert file.category_ids == (1, 7)
    assert file.num_objects == 5


def test_a_file_says_what_its_content_says(annotations, tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(annotations), encoding="utf-8")
    assert read_annotations(path).images == read_annotations(annotations).images
    assert read_annotations(str(path)).name == str(path)


def test_crowds_and_objects_outside_their_image_have_no_vector(annotations):
    file = read_annotations(annotations)
    found = [[item.id for item in image.encodable()] for image in file.images]
    assert found == [[0, 1], [2, 3], []]


def test_boxes_end_at_the_border_of_the_image(annotations):
    image = read_annotations(annotations).images[1]
    np.testing.assert_array_equal(
        image.boxes(image.encodable()), [[5, 5, 135, 115], [90, 100, 140, 120]]
    )
    assert image.boxes([]).shape == (0, 4)


@pytest.mark.parametrize("kind", ["polygons", "counts", "string", "bytes"])
def test_masks_of_every_kind_are_pycocotools_own(annotations, kind):
    entry = annotations["annotations"][1]
    expected = coco_masks.merge(coco_masks.frPyObjects(entry["segmentation"], 60, 80))
    if kind == "counts":
        pixels = rle_to_masks([expected])[0].T.ravel()
        runs = [len([*run]) for _, run in groupby(pixels)]
        entry["segmentation"] = {"size": [60, 80], "counts": runs}
    elif kind != "polygons":
        counts = expected["counts"] if kind == "bytes" else expected["counts"].decode()
        entry["segmentation"] = {"size": [60, 80], "counts": counts}
    file = read_annotations(annotations)
    image = file.images[0]
    rle = file.rle(image, image.objects[1])
    assert rle == {"size": [60, 80], "counts": expected["counts"].decode()}


def test_lvis_has_no_crowds_and_an_area_is_not_needed(annotations):
    for entry in annotations["annotations"]:
        entry.pop("iscrowd", None)
    annotations["annotations"][0]["area"] = 12.5
    objects = read_annotations(annotations).images[0].objects
    assert [item.is_crowd for item in objects] == [False, False, False]
    assert [item.area for item in objects] == [12.5, None, None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a COCO annotation file in JSON, got at line 1 column 1: Expecting value"),
        (b'{"images": [}', "got at line 1 column 13: Expecting value"),
        (b"\xff\xfe\x00", "expected a COCO annotation file in JSON, got bytes that are no text"),
        (b"[" * 100_000, "expected a COCO annotation file in JSON, got deep nesting"),
        (b"[1, 2]", "top level must be an object with images, categories and annotations, got"),
        (b"{}", "key images must be a list, got no such key"),
    ],
)
def test_what_is_no_annotation_file_is_told_with_its_name(tmp_path, content, message):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.json: ") as caught:
        read_annotations(path)
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["images", "categories", "annotations"])
def test_a_missing_list_is_named(annotations, key):
    del annotations[key]
    with pytest.raises(ValueError, match=f"^annotations: key {key} must be a list, got no such"):
        read_annotations(annotations)
    annotations[key] = {}
    with pytest.raises(ValueError, match=rf"^annotations: key {key} must be a list, got \{{\}}"):
        read_annotations(annotations)


@pytest.mark.parametrize(
    ("entry", "change", "message"),
    [
        ("images", {"id": "8"}, "images[0]: id must be an integer, got '8'"),
        ("images", {"id": 3}, "images[1]: id must be one that no other entry has, got 3"),
        ("images", {"height": 0}, "image id 8: height must be an integer of at least 1, got 0"),
        ("images", {"width": 1.5}, "image id 8: width must be an integer of at least 1, got 1.5"),
        ("categories", {"id": None}, "categories[0]: id must be an integer, got None"),
        (
            "annotations",
            {"image_id": 99},
            "annotation id 0: image_id must be the id of an image of the file, got 99",
        ),
        (
            "annotations",
            {"category_id": 2},
            "annotation id 0: category_id must be the id of a category of the file, got 2",
        ),
        (
            "annotations",
            {"bbox": [1, 2, 3]},
            "annotation id 0: bbox must be four finite numbers [x, y, width, height], got [1, 2, 3",
        ),
        (
            "annotations",
            {"bbox": [1, 2, 3, float("nan")]},
            "annotation id 0: bbox must be four finite numbers [x, y, width, height], got [1, 2, 3",
        ),
        ("annotations", {"area": "8"}, "annotation id 0: area must be a finite number, got '8'"),
        ("annotations", {"iscrowd": 2}, "annotation id 0: iscrowd must be 0 or 1, got 2"),
        (
            "annotations",
            {"segmentation": "mask"},
            "annotation id 0: segmentation must be polygons or RLE, got 'mask'",
        ),
    ],
)
def test_a_wrong_value_is_told_with_its_entry(annotations, entry, change, message):
    annotations[entry][0] |= change
    with pytest.raises(ValueError, match=r"^annotations: ") as caught:
        read_annotations(annotations)
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox", "segmentation"])
def test_a_missing_key_is_told_with_its_entry(annotations, key):
    del annotations["annotations"][2][key]
    with pytest.raises(ValueError, match=f"annotation id 2: {key} must be .*, got no such key"):
        read_annotations(annotations)


@pytest.mark.parametrize("entry", [None, 3, "object"])
def test_an_entry_that_is_no_object_is_told_by_its_place(annotations, entry):
    annotations["annotations"][4] = entry
    with pytest.raises(ValueError, match=r"annotations\[4\] must be an object, got"):
        read_annotations(annotations)


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        [[1, 2, 3, 4]],
        [["a", "b", "c", "d", "e", "f"]],
        [1, 2, 3, 4, 5, 6],
        {},
        {"size": [60, 80]},
        {"size": [80, 60], "counts": [4800]},
        {"size": [60, 80], "counts": [4799]},
        {"size": [60, 80], "counts": [-1, 4801]},
        {"size": [60, 80], "counts": "~~~"},
        {"size": 60, "counts": [4800]},
        {"size": None, "counts": None},
        {"size": ["60", "80"], "counts": [4800]},
    ],
)
def test_a_broken_segmentation_is_told_with_its_annotation(annotations, segmentation):
    annotations["annotations"][0]["segmentation"] = segmentation
    file = read_annotations(annotations)
    image = file.images[0]
    with pytest.raises(
        ValueError, match=r"^annotations: annotation id 0: segmentation is broken: "
    ):
        file.rle(image, image.objects[0])


def test_reading_an_rle_writes_it_as_it_was(annotations):
    file = read_annotations(annotations)
    image = file.images[1]
    rle = file.rle(image, image.objects[0])
    assert masks_to_rle(rle_to_masks([rle])) == [rle]
    assert rle == annotations["annotations"][2]["segmentation"]
