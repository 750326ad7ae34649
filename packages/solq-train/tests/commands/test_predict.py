"""`solq predict`: a model on images becomes pictures and COCO detections."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image


@pytest.fixture
def predict(solq, trained, tmp_path):
    def start(*arguments: object):
        named = ("--model", trained / "best", "--output", tmp_path / "out")
        return solq("predict", *arguments, *named)

    return start


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_image_of_a_folder_is_drawn_and_its_detections_are_in_the_ids_of_the_data_set(
    predict, shapes, tmp_path
):
    ran = predict(shapes / "val", "--threshold", 0, "--top-k", 15)
    assert (ran.code, ran.errors) == (0, "")
    assert "60 objects in 4 images" in ran.output
    output = tmp_path / "out"
    pictures = [f"{number:06d}.png" for number in range(1, 5)]
    assert names(output) == [*pictures, "predictions.json"]
    for name in pictures:
        with Image.open(output / name) as picture:
            assert picture.width == picture.height >= 64
    detections = json.loads((output / "predictions.json").read_text())
    assert {d["category_id"] for d in detections} == {1, 7, 23}
    assert {d["image_id"] for d in detections} == set(pictures)
    assert detections[0]["segmentation"]["size"] == [64, 64]


def test_only_objects_above_the_threshold_count(predict, shapes, tmp_path):
    assert predict(shapes / "val" / "000001.png", "--threshold", 1).code == 0
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == []


def test_images_of_one_name_from_two_folders_do_not_overwrite_each_other(predict, shapes, tmp_path):
    first = shapes / "val" / "000001.png"
    second = tmp_path / "other" / "000001.png"
    second.parent.mkdir()
    shutil.copy(shapes / "val" / "000002.png", second)
    assert predict(first, second).code == 0
    assert names(tmp_path / "out") == ["000001-2.png", "000001.png", "predictions.json"]


def test_a_jpeg_becomes_a_png(predict, shapes, tmp_path):
    with Image.open(shapes / "val" / "000001.png") as picture:
        picture.save(tmp_path / "photo.JPG")
    assert predict(tmp_path / "photo.JPG").code == 0
    assert names(tmp_path / "out") == ["photo.png", "predictions.json"]


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_out_of_range_is_refused(predict, shapes, tmp_path, threshold):
    ran = predict(shapes / "val", "--threshold", threshold)
    assert ran.code == 2
    assert f"threshold must be in 0..1, got {threshold}" in ran.errors
    assert not (tmp_path / "out").exists()


def test_a_folder_without_images_is_refused_by_name(predict, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = predict(tmp_path / "empty")
    assert ran.code == 2
    assert f"images {tmp_path / 'empty'}: expected image files in the folder, found none" in (
        ran.errors
    )


def test_a_path_that_is_not_there_is_refused_by_name(predict, tmp_path):
    ran = predict(tmp_path / "none.png")
    assert ran.code == 2
    assert f"images {tmp_path / 'none.png'}: no such file or folder" in ran.errors
