"""`solq predict`: a model on images becomes pictures and COCO detections."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from itertools import islice

import av
import numpy as np
import pytest
from PIL import Image

from solq_maskcodec import rle_to_masks, rle_to_polygons
from solq_model.result import Result
from solq_train.video import Video, open_video, write_video


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


def test_each_mask_becomes_a_picture_of_its_own_on_request(predict, shapes, tmp_path):
    named = ("--threshold", 0, "--top-k", 3, "--masks", "--no-overlays")
    assert predict(shapes / "val" / "000001.png", *named).code == 0
    assert names(tmp_path / "out") == ["masks", "predictions.json"]
    detections = json.loads((tmp_path / "out" / "predictions.json").read_text())
    pictures = sorted((tmp_path / "out" / "masks" / "000001").iterdir())
    for number, (path, detection) in enumerate(zip(pictures, detections, strict=True)):
        assert path.name == f"{number:03d}-{detection['category_id']}.png"
        expected = rle_to_masks([detection["segmentation"]])[0]
        with Image.open(path) as picture:
            assert (np.asarray(picture.convert("L")) > 0).tolist() == expected.tolist()


@pytest.fixture
def clip(shapes, tmp_path):
    """The four validation images, three times over, as a video."""
    path = tmp_path / "clip.mp4"
    with write_video(path, Fraction(5)) as write:
        for file in sorted((shapes / "val").iterdir()) * 3:
            with Image.open(file) as picture:
                write(picture.convert("RGB"))
    return path


def test_a_video_is_drawn_and_its_detections_say_in_which_frame(predict, clip, tmp_path):
    named = ("--threshold", 0, "--top-k", 2, "--frame-step", 2, "--masks")
    ran = predict(clip, *named)
    assert (ran.code, ran.errors) == (0, "")
    assert "12 objects in 6 images" in ran.output
    output = tmp_path / "out"
    assert names(output) == ["clip.mp4", "masks", "predictions.json"]
    drawn = open_video(output / "clip.mp4")
    assert (drawn.num_frames, drawn.rate) == (6, Fraction(5, 2))
    detections = json.loads((output / "predictions.json").read_text())
    assert [d["frame"] for d in detections] == [n for n in range(0, 12, 2) for _ in range(2)]
    assert detections[-1]["seconds"] == pytest.approx(2.0)
    assert {d["image_id"] for d in detections} == {"clip.mp4"}
    assert len(list((output / "masks" / "clip").iterdir())) == 12


def test_frames_have_the_results_of_images(predict, solq, trained, clip, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for frame in open_video(clip).frames():
        frame.picture.save(frames / f"{frame.number:02d}.png")
    assert predict(clip, "--threshold", 0, "--top-k", 3, "--no-overlays").code == 0
    named = ("--threshold", 0, "--top-k", 3, "--model", trained / "best", "--no-overlays")
    assert solq("predict", frames, *named, "--output", tmp_path / "alone").code == 0
    detections, expected = (
        json.loads((tmp_path / folder / "predictions.json").read_text())
        for folder in ("out", "alone")
    )
    for one, other in zip(detections, expected, strict=True):
        assert f"{one['frame']:02d}.png" == other["image_id"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_of_a_video_that_was_cut_off_the_frames_before_stay(predict, shapes, clip, tmp_path):
    cut = tmp_path / "cut.mp4"
    with (
        av.open(str(clip)) as source,
        av.open(str(cut), "w", options={"movflags": "faststart"}) as target,
    ):  # what is in the file, before the frames
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = cut.read_bytes()
    cut.write_bytes(data[: len(data) * 2 // 3])
    ran = predict(shapes / "val" / "000001.png", cut, "--threshold", 0, "--top-k", 1)
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    frames = [d["frame"] for d in found if "frame" in d]
    assert 0 < len(frames) < 12
    assert open_video(tmp_path / "out" / "cut.mp4").num_frames == len(frames)
    assert ran.code == 0
    assert f"{len(frames)} of the 12 frames that it announces are there" in ran.errors


def test_where_decoding_fails_the_frames_before_stay_and_the_exit_code_is_1(
    predict, clip, tmp_path, monkeypatch
):
    frames = Video.frames

    def fail_after_five(video, step):
        yield from islice(frames(video, step), 5)
        msg = f"video {video.path}: broken after 5 frames (no key frame)"
        raise ValueError(msg)

    monkeypatch.setattr(Video, "frames", fail_after_five)
    ran = predict(clip, "--threshold", 0, "--top-k", 1)
    assert ran.code == 1
    assert "left out: video" in ran.errors
    assert "broken after 5 frames" in ran.errors
    assert "5 objects in 5 images, 1 file could not be read" in ran.output
    assert open_video(tmp_path / "out" / "clip.mp4").num_frames == 5


def test_a_file_named_like_a_video_that_is_none_is_refused_before_the_work(predict, tmp_path):
    (tmp_path / "notes.mp4").write_text("no frames here")
    ran = predict(tmp_path / "notes.mp4")
    assert ran.code == 2
    assert f"video {tmp_path / 'notes.mp4'}: not a video file" in ran.errors
    assert not (tmp_path / "out").exists()


def test_a_step_of_no_frames_is_refused(predict, shapes):
    ran = predict(shapes / "val", "--frame-step", 0)
    assert ran.code == 2
    assert "frame_step must be at least 1, got 0" in ran.errors
