"""`solq evaluate`: a model on a data set becomes the COCO table."""

from __future__ import annotations

import json
import sys

import pytest


@pytest.fixture
def evaluate(solq, trained, shapes):
    def start(*arguments: object):
        return solq("evaluate", "--model", trained / "best", "--data", shapes, *arguments)

    return start


def test_the_table_has_boxes_masks_and_the_ceiling(evaluate):
    ran = evaluate()
    assert (ran.code, ran.errors) == (0, "")
    for text in ("box", "mask", "mask ceiling", "AP75", "mean over IoU 0.50 to 0.95"):
        assert text in ran.output


def test_files_hold_detections_in_the_ids_of_the_data_set_and_all_numbers(evaluate, tmp_path):
    output = tmp_path / "out"
    assert evaluate("--output", output, "--top-k", 15).code == 0
    assert sorted(path.name for path in output.iterdir()) == ["detections.json", "metrics.json"]
    detections = json.loads((output / "detections.json").read_text())
    assert {d["category_id"] for d in detections} == {1, 7, 23}
    assert {d["image_id"] for d in detections} == {1, 2, 3, 4}
    assert set(detections[0]) == {"image_id", "category_id", "bbox", "segmentation", "score"}
    numbers = json.loads((output / "metrics.json").read_text())
    assert len(numbers) == 25
    assert {"bbox.AP", "segm.AR_100", "ceiling.segm.AP"} <= numbers.keys()


def test_the_other_split_and_a_limit_choose_the_images(evaluate, tmp_path):
    output = tmp_path / "out"
    assert evaluate("--split", "train", "--limit", 3, "--output", output).code == 0
    detections = json.loads((output / "detections.json").read_text())
    assert {d["image_id"] for d in detections} == {1, 2, 3}


def test_evaluation_repeats_the_numbers_of_the_run(evaluate, trained, tmp_path):
    output = tmp_path / "out"
    assert evaluate("--output", output, "--top-k", 5).code == 0
    summary = json.loads((trained / "summary.json").read_text())
    numbers = json.loads((output / "metrics.json").read_text())
    assert numbers["ceiling.segm.AP"] == summary["ceiling.segm.AP"]


def test_the_faster_library_gives_the_same_numbers(evaluate, tmp_path):
    numbers = []
    for name in ("pycocotools", "hotcoco"):
        assert evaluate("--evaluator", name, "--output", tmp_path / name).code == 0
        numbers.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    assert numbers[0] == pytest.approx(numbers[1], rel=0, abs=1e-12)


def test_a_missing_library_is_one_line_that_names_the_extra(evaluate, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    ran = evaluate("--evaluator", "hotcoco", "--output", tmp_path / "out")
    assert ran.code == 2
    assert "pip install 'solq-train[fast-eval]'" in ran.errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--evaluator", "mine"), "evaluator"),
        (("--limit", 0), "limit must be at least 1, got 0"),
        (("--top-k", 0), "top_k must be at least 1, got 0"),
        (("--batch-size", 0), "batch_size"),
        (("--num-workers", -1), "num_workers"),
    ],
)
def test_impossible_arguments_are_refused_by_name(evaluate, tmp_path, arguments, expected):
    ran = evaluate(*arguments, "--output", tmp_path / "out")
    assert ran.code == 2
    assert expected in ran.errors
    assert not (tmp_path / "out").exists()
