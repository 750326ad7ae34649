"""What a run leaves: detections, the summary and the report."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from solq_maskcodec import masks_to_rle
from solq_train import outcome
from solq_train.checkpoint import Progress
from solq_train.data import annotation_mask, find_split, read_coco
from solq_train.engine import TrainingResult
from solq_train.evaluation import Evaluation
from solq_train.metrics import coco_metrics, evaluate_detections
from solq_train.outcome import DETECTIONS, REPORT, SUMMARY, write_outcome


@pytest.fixture
def split(shapes):
    return find_split(shapes, "val")


@pytest.fixture
def finish(trained, split, small_config, tmp_path, monkeypatch):
    """Writes the outcome of a run with these detections; it and the report as it was given."""
    output = tmp_path / "run"
    shutil.copytree(trained, output)
    for name in (DETECTIONS, SUMMARY, REPORT):
        (output / name).unlink()
    reports = []
    real = outcome.write_report
    monkeypatch.setattr(
        outcome, "write_report", lambda path, run: reports.append(run) or real(path, run)
    )

    def write(detections):
        metrics = coco_metrics(read_coco(split.annotations), detections)
        result = TrainingResult(
            progress=Progress(step=4, evaluated=4, seconds=1.2345),
            evaluation=Evaluation(metrics=metrics, detections=detections),
            earlier_seconds=0.0,
        )
        found = write_outcome(
            output,
            small_config,
            result,
            split,
            title="a title",
            command="solq train",
            epochs=2,
            timing={"train": 1.2345, "evaluate and save": 0.5},
        )
        return output, found, reports[0]

    return write


def perfect(split, image_ids) -> list[dict]:
    """The ground truth of some images as detections of score 1."""
    return [
        {
            "image_id": image.id,
            "category_id": item.category_id,
            "bbox": list(item.bbox_xywh),
            "segmentation": masks_to_rle(annotation_mask(item, (image.height, image.width))[None])[
                0
            ],
            "score": 1.0,
        }
        for image in read_coco(split.annotations).images
        if image.id in image_ids
        for item in image.annotations
        if not item.is_crowd
    ]


def test_the_summary_has_the_numbers_the_times_and_the_versions(finish, split):
    output, found, _ = finish(perfect(split, {1, 3, 4}))
    summary = json.loads((output / SUMMARY).read_text())
    assert summary == found.summary
    assert summary["bbox.AP"] == summary["segm.AP"] == pytest.approx(1.0)
    assert 0 < summary["ceiling.segm.AP"] <= 1
    assert (summary["steps"], summary["epochs"]) == (4, 2)
    assert (summary["train_seconds"], summary["total_seconds"]) == (1.23, 1.73)
    assert summary["versions"]["solq-train"] == version("solq-train")


def test_the_summary_says_what_the_run_was_evaluated_on(finish, split):
    _, found, _ = finish([])
    assert found.summary["data"] == {
        "validation": str(split.annotations),
        "sha256": hashlib.sha256(split.annotations.read_bytes()).hexdigest(),
        "folder": str(split.images),
        "images": 4,
    }


def test_the_detections_of_the_run_are_there_and_give_its_numbers_again(finish, split):
    output, found, _ = finish(perfect(split, {1, 3}))
    detections = json.loads((output / DETECTIONS).read_text())
    assert detections == perfect(split, {1, 3})
    again = evaluate_detections(split.annotations, detections, ("bbox", "segm"))
    assert (again["bbox"], again["segm"]) == (found.metrics.bbox, found.metrics.segm)


def test_the_report_shows_the_first_the_best_and_the_worst_images_and_what_queries_look_at(
    finish, split
):
    output, _, report = finish(perfect(split, {1, 4}))
    # Image 2 is empty.
    assert [picture.title for picture in report.examples] == [
        "000001.png",
        "000003.png",
        "000004.png",
    ]
    assert report.worst[0].title == "000003.png"
    assert report.worst[0].caption.endswith("0 found; quality 0.00")
    assert all(picture.caption.endswith("quality 1.00") for picture in report.worst[1:])
    # An image without objects in which nothing is found is right, but no example.
    assert [picture.title for picture in report.best] == ["000004.png", "000001.png", "000003.png"]
    assert [picture.title for picture in report.attention] == [p.title for p in report.best]
    page = (output / REPORT).read_text()
    assert "a title" in page
    assert page.count("data:image/jpeg;base64,") == 2 * (3 + 3 + 4) + 3


def test_pictures_of_ground_truth_and_prediction_have_one_size(finish, split):
    _, _, report = finish(perfect(split, {1}))
    for picture in report.examples:
        assert picture.ground_truth.size == picture.prediction.size
        assert picture.ground_truth.tobytes() != picture.prediction.tobytes()  # scores, or nothing


def test_weak_detections_are_left_out_of_the_pictures(finish, split):
    weak = [{**detection, "score": 0.1} for detection in perfect(split, {1, 3, 4})]
    _, _, report = finish(weak)
    assert all(", 0 found;" in picture.caption for picture in report.examples)
    assert all(picture.caption.endswith("quality 0.00") for picture in report.worst[:3])


def test_a_run_that_found_nothing_has_a_report_too(finish):
    output, found, report = finish([])
    assert found.summary["segm.AP"] == 0
    assert len(report.examples) == 3
    assert (output / REPORT).stat().st_size > 1000


def test_a_detection_of_another_category_covers_nothing(finish, split):
    image, other = next(
        (image, category_id)
        for image in read_coco(split.annotations).images
        for category_id in (1, 7, 23)
        if image.annotations and category_id not in {a.category_id for a in image.annotations}
    )
    wrong = [{**detection, "category_id": other} for detection in perfect(split, {image.id})]
    _, _, report = finish(wrong)
    caption = next(p.caption for p in report.worst if p.title == image.file_name)
    assert f": {len(wrong)} objects, {len(wrong)} found;" in caption
    assert caption.endswith("quality 0.00")


def test_only_whole_files_are_written(finish, split):
    output, _, _ = finish(perfect(split, {1}))
    assert not [path for path in Path(output).iterdir() if path.name.startswith(".")]
