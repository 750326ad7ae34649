"""Splits of a data set folder: where annotations and images are found, and when they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from solq_train.data.defects import DataError
from solq_train.data.layout import find_split


def lay_out(folder: Path, *paths: str) -> Path:
    for path in paths:
        if path.endswith("/"):
            (folder / path).mkdir(parents=True)
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("instances_train2017.json", "train2017"),
        ("instances_train2017.json", "train"),
        ("instances_train.json", "train"),
        ("instances_train.json", "images"),
    ],
)
def test_annotations_and_images_are_found_under_their_usual_names(
    tmp_path: Path, annotations: str, images: str
) -> None:
    lay_out(tmp_path, f"annotations/{annotations}", "annotations/instances_val.json", f"{images}/")
    split = find_split(tmp_path, "train")
    assert split.annotations == tmp_path / "annotations" / annotations
    assert split.images == tmp_path / images


def test_names_that_only_begin_alike_are_other_splits(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        "annotations/instances_train.json",
        "annotations/instances_trainval.json",
        "images/",
    )
    assert find_split(tmp_path, "train").annotations.name == "instances_train.json"


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (("images/",), "expected one .*train.*, found none"),
        (
            ("annotations/instances_train.json", "annotations/instances_train2017.json", "train/"),
            r"found instances_train\.json, instances_train2017\.json",
        ),
        (("annotations/instances_train.json", "pictures/"), "in one of train/, images/"),
    ],
)
def test_what_is_missing_or_double_is_named(
    tmp_path: Path, paths: tuple[str, ...], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        find_split(lay_out(tmp_path, *paths), "train")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find_split(tmp_path / "nowhere", "train")


def test_annotations_beside_the_images_are_found_as_roboflow_exports_them(tmp_path: Path) -> None:
    lay_out(tmp_path, "train/_annotations.coco.json", "valid/_annotations.coco.json")
    for split, folder in (("train", "train"), ("val", "valid")):
        found = find_split(tmp_path, split)
        assert found.annotations == tmp_path / folder / "_annotations.coco.json"
        assert found.images == tmp_path / folder
