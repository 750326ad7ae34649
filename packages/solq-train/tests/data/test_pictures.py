"""Image files of a data set: doubles, leaks, files without a record."""

from __future__ import annotations

import shutil
from typing import Any

from PIL import Image

from solq_train.data import read_coco
from solq_train.data.defects import DefectKind
from solq_train.data.pictures import PictureCheck


def kinds(pictures: PictureCheck, small_set: Any) -> list[list[DefectKind]]:
    coco = read_coco(small_set.save())
    return [[d.kind for d in found] for found in pictures.check(coco, small_set.images)]


def test_defects_come_image_by_image(small_set: Any) -> None:
    (small_set.images / "b.png").unlink()
    assert kinds(PictureCheck(), small_set) == [[], [DefectKind.IMAGE_MISSING]]


def test_a_double_of_another_recorded_size_is_found_too(small_set: Any) -> None:
    shutil.copy(small_set.images / "a.png", small_set.images / "b.png")
    small_set.document["images"][1]["width"] = 41
    expected = [DefectKind.IMAGE_SIZE, DefectKind.DUPLICATE_IMAGE]
    assert kinds(PictureCheck(), small_set) == [[], expected]


def test_what_was_seen_in_one_split_leaks_into_the_next(small_set: Any) -> None:
    pictures = PictureCheck()
    assert kinds(pictures, small_set) == [[], []]
    assert kinds(pictures, small_set) == [[DefectKind.LEAKED_IMAGE]] * 2


def test_each_file_without_a_record_is_told_once(small_set: Any) -> None:
    pictures = PictureCheck()
    (small_set.images / "deep").mkdir()
    Image.new("RGB", (3, 3)).save(small_set.images / "deep" / "new.jpg")
    (small_set.images / "notes.txt").write_text("no image")
    assert kinds(pictures, small_set) == [[], []]
    (extra,) = pictures.extra_files(small_set.images)
    assert extra.where == "deep/new.jpg"
    assert not list(pictures.extra_files(small_set.images))
