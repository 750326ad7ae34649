"""YOLO folders: layouts, and every wrong line named."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from solq_train.data.convert.yolo import is_yolo, read_yolo
from solq_train.data.defects import DataError

TRIANGLE = "0 0.1 0.1 0.9 0.1 0.5 0.8"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("images", "labels"):
        (tmp_path / folder / "train").mkdir(parents=True)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    Image.new("RGB", (40, 20)).save(tmp_path / "images" / "train" / "a.png")
    label(tmp_path).write_text(TRIANGLE)
    return tmp_path


def label(root: Path) -> Path:
    return root / "labels" / "train" / "a.txt"


def test_polygons_are_in_pixels_and_class_numbers_are_ids(root: Path) -> None:
    label(root).write_text(f"{TRIANGLE}\n\n1 0 0 1 0 1 1 0 1\n")
    source = read_yolo(root)
    assert source.category_ids == {"cat": 0, "dog": 1}
    (image,) = source.images["train"]
    assert (image.name, image.size) == ("a.png", (20, 40))
    assert [item.category for item in image.objects] == ["cat", "dog"]
    assert image.objects[0].segmentation == [[4.0, 2.0, 36.0, 2.0, 20.0, 16.0]]


def test_folders_of_splits_may_come_first_and_test_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\n")
    for split in ("train", "valid", "test"):
        for folder in ("images", "labels"):
            (tmp_path / split / folder).mkdir(parents=True)
        Image.new("RGB", (40, 20)).save(tmp_path / split / "images" / f"{split}.png")
        (tmp_path / split / "labels" / f"{split}.txt").write_text(TRIANGLE)
    assert is_yolo(tmp_path)
    source = read_yolo(tmp_path)
    assert {split: len(images) for split, images in source.images.items()} == {"train": 1, "val": 1}
    assert +source.left_out == {"image of a test split": 1}


def test_what_has_no_mask_or_no_image_is_left_out_with_its_reason(root: Path) -> None:
    label(root).write_text(f"{TRIANGLE}\n0 0.5 0.5 0.2 0.2\n")
    label(root).with_name("gone.txt").write_text(TRIANGLE)
    Image.new("RGB", (40, 20)).save(root / "images" / "train" / "empty.png")
    source = read_yolo(root)
    assert +source.left_out == {"YOLO box without a polygon": 1, "label file without an image": 1}
    assert [len(image.objects) for image in source.images["train"]] == [1, 0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0 0 1 0 1 1", "must begin with the number of one of the 2 classes, got '2'"),
        ("cat 0 0 1 0 1 1", "got 'cat'"),
        ("-1 0 0 1 0 1 1", "got '-1'"),
        ("0 0 0 1 0 1", "at least 3 points x y, got 5 numbers"),
        ("0", "at least 3 points x y, got 0 numbers"),
        ("0 0 0 1 0 1 x", "must hold numbers, got 'x'"),
        ("0 0 0 1 0 1 nan", "coordinates must be shares of the image's sides in 0..1, got nan"),
        ("0 12 30 50 30 50 80", "in 0..1, got 12.0"),
    ],
)
def test_a_wrong_line_is_named_with_file_and_number(root: Path, line: str, words: str) -> None:
    label(root).write_text(f"{TRIANGLE}\n{line}\n")
    with pytest.raises(DataError) as error:
        read_yolo(root)
    assert f"{label(root)} line 2: " in str(error.value)
    assert words in str(error.value)


def test_bytes_that_are_no_text_are_refused(root: Path) -> None:
    label(root).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"a\.txt: must be a text file in UTF-8"):
        read_yolo(root)
