"""An archive of results: each thing the server would refuse or misread is found and named."""

from __future__ import annotations

import json
import zipfile

import pytest

from solq_maskcodec import masks_to_rle
from solq_train.data import annotation_mask, find_split, read_coco
from solq_train.submission import check_archive

STEM = "detections_val_solq_results"


@pytest.fixture(scope="module")
def coco(shapes):
    return read_coco(find_split(shapes, "val").annotations)


@pytest.fixture
def good(coco) -> list[dict]:
    image = coco.images[0]
    return [
        {
            "image_id": image.id,
            "category_id": item.category_id,
            "bbox": list(item.bbox_xywh),
            "segmentation": masks_to_rle(annotation_mask(item, (64, 64))[None])[0],
            "score": 1,
        }
        for item in image.annotations
    ]


@pytest.fixture
def check(coco, tmp_path):
    def write(content, name=f"{STEM}.zip", member=f"{STEM}.json"):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            text = content if isinstance(content, str) else json.dumps(content)
            archive.writestr(member, text)
        return check_archive(path, coco)

    return write


def test_a_sound_archive_has_no_problem(check, good):
    problems = check(good)
    assert (problems.count, problems.detections, problems.images_without) == (0, len(good), 3)


def test_progress_is_told_in_kilobytes_and_its_end_once(check, good, coco, tmp_path):
    check(good * 1500)
    told = []
    check_archive(tmp_path / f"{STEM}.zip", coco, lambda done, total: told.append((done, total)))
    assert len(told) > 1
    assert told == sorted(told)
    assert [done == total for done, total in told] == [False] * (len(told) - 1) + [True]


def test_files_of_boxes_alone_and_of_masks_alone_are_sound(check, good):
    for key in ("bbox", "segmentation"):
        assert check([{k: d[k] for k in d if k != key} for d in good]).count == 0


RLE = {"size": [64, 64], "counts": "0`40"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"image_id": 99}, "image_id must be an image of the set, got 99"),
        ({"image_id": "1"}, "image_id must be an integer, got '1'"),
        ({"image_id": True}, "image_id must be an integer, got True"),
        ({"category_id": 2}, "category_id must be a category of the set, got 2"),
        ({"category_id": None}, "category_id must be an integer, got None"),
        ({"score": 1.01}, "score must be a number in 0..1, got 1.01"),
        ({"score": -0.1}, "score must be a number in 0..1, got -0.1"),
        ({"score": float("nan")}, "score must be a number in 0..1, got nan"),
        ({"score": "1"}, "score must be a number in 0..1, got '1'"),
        ({"bbox": [1, 2, 3]}, "bbox must be four finite numbers"),
        ({"bbox": [1, 2, 3, float("inf")]}, "bbox must be four finite numbers"),
        ({"bbox": [1, 2, -3, 4]}, "bbox must have a width and height of at least 0"),
        ({"segmentation": [[1, 1, 2, 1, 2, 2]]}, "segmentation must be compressed run lengths"),
        ({"segmentation": {"size": [64, 64]}}, "segmentation must be compressed run lengths"),
        ({"segmentation": RLE | {"size": [64, 65]}}, "segmentation.size must be the image's"),
        ({"segmentation": RLE | {"counts": "1"}}, "segmentation: "),
        ({"segmentation": RLE | {"counts": "\n"}}, "segmentation: "),
    ],
)
def test_a_detection_that_is_not_as_it_should_be_is_named(check, good, change, expected):
    problems = check([good[0], good[0] | change])
    assert problems.count == 1
    assert problems.first[0].startswith(f"detection 1: {expected}")


def test_detections_without_what_the_first_has_are_named(check, good):
    without_box = {k: v for k, v in good[0].items() if k != "bbox"}
    problems = check([good[0], without_box, {k: without_box[k] for k in ("image_id",)}, 5])
    assert [message.partition(": ")[2] for message in problems.first] == [
        "must have bbox and segmentation as the first one has, got segmentation",
        "category_id must be an integer, got None",
        "must be an object, got 5",
    ]


def test_more_than_100_detections_of_an_image_are_a_problem(check, good):
    assert check(good[:1] * 100).count == 0
    assert check(good[:1] * 101).first == ["image 1: must have at most 100 detections, got 101"]


def test_many_problems_are_counted_and_the_first_ones_kept(check, good):
    problems = check([good[0] | {"score": 2}] * 90)
    assert (problems.count, len(problems.first)) == (90, 20)


@pytest.mark.parametrize(
    "name", ["results.zip", f"{STEM}.json.zip", "detections_a_b_c_results.zip"]
)
def test_another_name_of_the_archive_is_a_problem(check, good, name):
    problems = check(good, name, f"{name.removesuffix('.zip')}.json")
    assert problems.first == [f"{name}: must be called detections_<image set>_<name>_results.zip"]


@pytest.mark.parametrize("member", ["results.json", f"folder/{STEM}.json"])
def test_another_name_of_the_file_in_it_is_a_problem(check, good, member):
    expected = f"{STEM}.zip: must hold {STEM}.json and nothing else, got {member}"
    assert check(good, member=member).first == [expected]


@pytest.mark.parametrize("content", ["", "{}", "[1,", '[{"a": }]'])
def test_a_broken_list_is_a_problem(check, content):
    assert any(message.startswith("the list ") for message in check(content).first)


def test_what_is_no_zip_file_is_refused(coco, tmp_path):
    path = tmp_path / f"{STEM}.zip"
    with pytest.raises(ValueError, match="no such file"):
        check_archive(path, coco)
    path.write_bytes(b"PK none")
    with pytest.raises(ValueError, match="must be a whole zip file"):
        check_archive(path, coco)


def test_damaged_bytes_in_a_zip_file_are_refused(check, good, coco, tmp_path):
    check(good * 20)
    path = tmp_path / f"{STEM}.zip"
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be a whole zip file, but: Bad CRC-32"):
        check_archive(path, coco)
