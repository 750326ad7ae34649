"""`solq predict`: a model on images becomes pictures and COCO detections."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from solq_maskcodec import rle_to_polygons
from solq_model.result import Result


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


def test_batches_change_no_result(predict, solq, trained, shapes, tmp_path):
    assert predict(shapes / "val", "--threshold", 0, "--batch-size", 3).code == 0
    alone = ("--threshold", 0, "--batch-size", 1, "--model", trained / "best")
    assert solq("predict", shapes / "val", *alone, "--output", tmp_path / "alone").code == 0
    assert names(tmp_path / "alone") == names(tmp_path / "out")
    detections, expected = (
        json.loads((tmp_path / folder / "predictions.json").read_text())
        for folder in ("out", "alone")
    )
    for one, other in zip(detections, expected, strict=True):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_masks_are_written_as_polygons_on_request(predict, solq, trained, shapes, tmp_path):
    picture = shapes / "val" / "000001.png"
    assert predict(picture, "--threshold", 0, "--polygons").code == 0
    named = ("--threshold", 0, "--model", trained / "best", "--output", tmp_path / "rle")
    assert solq("predict", picture, *named).code == 0
    polygons, rles = (
        [
            d["segmentation"]
            for d in json.loads((tmp_path / folder / "predictions.json").read_text())
        ]
        for folder in ("out", "rle")
    )
    for parts, rle in zip(polygons, rles, strict=True):
        assert parts == rle_to_polygons(rle)


def test_detections_are_written_image_by_image(predict, shapes, tmp_path, monkeypatch):
    held = []
    to_coco = Result.to_coco

    def spy(result, *arguments, **options):
        (unfinished,) = (tmp_path / "out").glob(".predictions.json*")
        held.append(len(list((tmp_path / "out").glob("*.png"))))
        assert unfinished.exists()
        return to_coco(result, *arguments, **options)

    monkeypatch.setattr(Result, "to_coco", spy)
    assert predict(shapes / "val", "--batch-size", 2).code == 0
    assert held == [1, 2, 3, 4]


def test_a_file_that_is_named_twice_is_predicted_once(predict, shapes, tmp_path):
    ran = predict(shapes / "val", shapes / "val" / "000001.png")
    assert " in 4 images" in ran.output
    assert len(names(tmp_path / "out")) == 5


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
