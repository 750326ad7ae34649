"""The COCO numbers are pycocotools' own."""

from __future__ import annotations

import contextlib
import io
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solq_maskcodec import DCTMaskCodec
from solq_model.categories import Categories
from solq_model.records import Instances
from solq_train.metrics import CocoEvaluator, evaluate_detections, format_table

# ../shared/data/README.md: what pycocotools gives for the COCO API's example.
EXPECTED = {
    "segm": "0.3195 0.5623 0.2989 0.3874 0.3102 0.3269 0.2682 0.4154 0.4168 0.4694 0.3768 0.3815",
    "bbox": "0.5046 0.6970 0.5730 0.5856 0.5194 0.5014 0.3868 0.5937 0.5954 0.6398 0.5664 0.5643",
}

CODEC = DCTMaskCodec(num_coefficients=1024, mask_size=32, threshold=0.5)
CATEGORIES = Categories.contiguous([{"id": 7, "name": "cup"}, {"id": 23, "name": "dog"}])
CUP, DOG, NOTHING = 0, 1, 2  # class slots; the third stands for no category

ALL_TRUE = {
    40: [(CUP, (10, 10, 30, 30)), (DOG, (40, 5, 75, 55))],
    30: [(DOG, (20, 20, 60, 40))],
}


def instances_of(
    found: list[tuple[int, tuple[int, int, int, int]]], image_size: tuple[int, int] = (60, 80)
) -> Instances:
    """Filled boxes with falling scores."""
    return Instances(
        scores=torch.linspace(0.9, 0.5, len(found)),
        labels=torch.tensor([slot for slot, _ in found], dtype=torch.int64),
        boxes=torch.tensor([box for _, box in found], dtype=torch.float32).reshape(-1, 4),
        mask_vectors=CODEC.encode(torch.ones(len(found), 32, 32)),
        codec=CODEC,
        image_size=image_size,
    )


def pycocotools_numbers(annotations: Path, results: Path, iou_type: str) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO(annotations)
        evaluation = COCOeval(ground_truth, ground_truth.loadRes(str(results)), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_the_coco_example_gives_its_published_numbers(coco_val2014_100, iou_type):
    annotations = coco_val2014_100 / "annotations" / "instances_val2014_100.json"
    results = coco_val2014_100 / "results" / f"instances_val2014_fake{iou_type}100_results.json"
    detections = json.loads(results.read_text())

    numbers = evaluate_detections(annotations, detections, (iou_type,))[iou_type].to_dict()

    assert " ".join(f"{value:.4f}" for value in numbers.values()) == EXPECTED[iou_type]
    assert list(numbers.values()) == pycocotools_numbers(annotations, results, iou_type)


def test_boxes_without_masks_have_box_numbers_only(rectangles):
    evaluator = CocoEvaluator(rectangles, has_masks=False)
    for image_id, found in ALL_TRUE.items():
        boxes_only = replace(instances_of(found), mask_vectors=None, codec=None)
        evaluator.add(image_id, boxes_only, CATEGORIES)
    metrics = evaluator.summarize()
    assert metrics.segm is None
    assert metrics.ranking_ap == metrics.bbox.AP == pytest.approx(1.0)
    assert all(name.startswith("bbox.") for name in metrics.to_dict())
    assert format_table(metrics)[0] == ["", "box", "meaning"]
    assert "segmentation" not in evaluator.detections[0]


def test_finding_everything_gives_one_everywhere_and_ids_may_start_at_zero(rectangles):
    evaluator = CocoEvaluator(rectangles)
    for image_id, found in ALL_TRUE.items():
        evaluator.add(image_id, instances_of(found), CATEGORIES)

    metrics = evaluator.summarize()

    assert metrics.bbox.AP == metrics.segm.AP == pytest.approx(1.0)
    assert metrics.segm.by_category == pytest.approx({7: 1.0, 23: 1.0})
    assert {c.name: c.num_objects for c in metrics.categories} == {"cup": 1, "dog": 2}


def test_one_of_two_dogs_and_no_cup_gives_a_quarter(rectangles):
    evaluator = CocoEvaluator(rectangles)
    evaluator.add(30, instances_of([(DOG, (20, 20, 60, 40))]), CATEGORIES)

    metrics = evaluator.summarize()

    # 51 of the 101 recall points 0, 0.01, … lie up to recall 1/2; the cup counts 0.
    assert pytest.approx(51 / 101 / 2) == metrics.bbox.AP
    assert metrics.bbox.by_category == pytest.approx({7: 0.0, 23: 51 / 101})
    assert pytest.approx(0.25) == metrics.segm.AR_100


def test_a_box_of_three_quarters_overlap_counts_up_to_that_threshold(rectangles):
    evaluator = CocoEvaluator(rectangles, image_ids=[30])
    evaluator.add(30, instances_of([(DOG, (20, 20, 60, 35))]), CATEGORIES)

    metrics = evaluator.summarize()

    assert metrics.bbox.AP50 == metrics.bbox.AP75 == pytest.approx(1.0)
    assert pytest.approx(0.6) == metrics.bbox.AP  # 0.50, 0.55, … 0.75 of ten thresholds


def test_detections_inside_a_crowd_are_no_mistakes(rectangles):
    found = [(DOG, (0, 0, 16, 30)), (DOG, (20, 20, 60, 40))]
    evaluator = CocoEvaluator(rectangles, image_ids=[30])
    evaluator.add(30, instances_of(found), CATEGORIES)

    assert pytest.approx(1.0) == evaluator.summarize().segm.AP


def test_mask_size_classes_follow_the_mask_and_not_its_box(rectangles):
    evaluator = CocoEvaluator(rectangles, image_ids=[40])
    # A thin mask in a large box: were it sorted by its box, it could not be a small mistake.
    thin = instances_of([(CUP, (0, 0, 80, 60)), (CUP, (10, 10, 30, 30))])
    top_row = torch.zeros(32, 32)
    top_row[0] = 1
    thin.mask_vectors[0] = CODEC.encode(top_row)
    evaluator.add(40, thin, CATEGORIES)

    metrics = evaluator.summarize()

    assert metrics.segm.AP_small == pytest.approx(0.5)
    assert metrics.bbox.AP_small == pytest.approx(1.0)


def test_no_detections_give_zeros_and_missing_sizes_minus_one(rectangles):
    metrics = CocoEvaluator(rectangles).summarize()

    assert metrics.segm.AP == metrics.bbox.AP == 0.0
    assert metrics.segm.AP_large == -1.0
    assert metrics.segm.by_category == {7: 0.0, 23: 0.0}


def test_an_image_without_instances_can_be_added(rectangles):
    evaluator = CocoEvaluator(rectangles)
    evaluator.add(40, instances_of([]), CATEGORIES)

    assert len(evaluator.detections) == 0


def test_detections_speak_the_ids_of_the_data_set_and_slots_of_nothing_are_dropped(rectangles):
    evaluator = CocoEvaluator(rectangles)
    evaluator.add(40, instances_of([(DOG, (40, 5, 75, 55)), (NOTHING, (0, 0, 9, 9))]), CATEGORIES)

    (detection,) = evaluator.detections

    assert detection["category_id"] == 23
    assert detection["bbox"] == [40.0, 5.0, 35.0, 50.0]
    assert detection["segmentation"]["size"] == [60, 80]
    assert json.loads(json.dumps(detection)) == detection


def test_memory_does_not_grow_with_the_image(rectangles):
    document = json.loads(rectangles.read_text())
    for image in document["images"]:
        image.update(height=6000, width=8000)
    for entry in document["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        entry["iscrowd"] = 0
    rectangles.write_text(json.dumps(document))
    found = [(CUP, (50 * place, 10, 50 * place + 40, 900)) for place in range(100)]
    evaluator = CocoEvaluator(rectangles)
    tracemalloc.start()
    evaluator.add(40, instances_of(found, (6000, 8000)), CATEGORIES)
    evaluator.summarize()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 6000 * 8000  # less than one mask of the hundred, at a byte a pixel


def test_evaluation_prints_nothing(rectangles, capsys):
    evaluator = CocoEvaluator(rectangles)
    evaluator.add(40, instances_of(ALL_TRUE[40]), CATEGORIES)
    evaluator.summarize()

    assert capsys.readouterr() == ("", "")


def test_flat_names_hold_all_24_numbers(rectangles):
    numbers = CocoEvaluator(rectangles).summarize().to_dict()

    assert len(numbers) == 24
    assert {"bbox.AP", "bbox.AR_100", "segm.AP50", "segm.AP_small"} <= set(numbers)


@pytest.mark.parametrize(
    ("image_id", "image_size", "message"),
    [
        (99, (60, 80), r"image_id must be one of the images of .*rectangles.json, got 99"),
        (40, (80, 60), r"image_size must be \(height, width\) \(60, 80\) of image 40"),
        (30, (60, 80), r"image_id must be added once, got 30 again"),
    ],
)
def test_instances_of_another_image_are_refused(rectangles, image_id, image_size, message):
    evaluator = CocoEvaluator(rectangles)
    evaluator.add(30, instances_of([]), CATEGORIES)

    with pytest.raises(ValueError, match=message):
        evaluator.add(image_id, instances_of([], image_size), CATEGORIES)


def test_unknown_images_to_narrow_to_are_refused(rectangles):
    with pytest.raises(ValueError, match=r"image_ids must be images of .*, got unknown \[5\]"):
        CocoEvaluator(rectangles, image_ids=[30, 5])


def test_detections_without_their_entry_or_of_unknown_images_are_refused(rectangles):
    whole = {"image_id": 40, "category_id": 7, "score": 1.0, "bbox": [0, 0, 9, 9]}

    with pytest.raises(ValueError, match=r"detections\[0\] must have .*, got no segmentation"):
        evaluate_detections(rectangles, [whole], ("bbox", "segm"))
    with pytest.raises(ValueError, match=r"detections\[1\].image_id must be an image of .* got 8"):
        evaluate_detections(rectangles, [whole, whole | {"image_id": 8}], ("bbox",))
