"""Curves are what the numbers come from, and tables say what the numbers mean."""

from __future__ import annotations

import json

import numpy as np
import pytest

from solq_train.metrics import (
    IOU_THRESHOLDS,
    RECALLS,
    SIZES,
    CocoEvaluator,
    PrecisionRecall,
    evaluate_detections,
    format_table,
)


@pytest.fixture
def curves() -> PrecisionRecall:
    """Category 3 keeps precision 1 up to recall 0.5 at IoU up to 0.75, 9 half of it; 5 is empty."""
    precision = np.zeros((10, 101, 3))
    precision[:6, :51, 0] = 1.0
    precision[:6, :51, 2] = 0.5
    precision[:, :, 1] = -1.0
    return PrecisionRecall(category_ids=(3, 5, 9), precision=precision)


def test_a_curve_is_of_one_category_or_the_mean_of_those_with_objects(curves):
    assert curves.at(0.5, 3)[[0, 50, 51]].tolist() == [1.0, 1.0, 0.0]
    assert curves.at(0.75, 9)[[0, 50, 51]].tolist() == [0.5, 0.5, 0.0]
    assert curves.at(0.75)[[0, 50, 51]].tolist() == [0.75, 0.75, 0.0]


def test_without_an_iou_a_curve_is_the_mean_of_all_ten(curves):
    assert curves.at(category_id=3)[0] == pytest.approx(0.6)
    assert curves.at()[0] == pytest.approx(0.45)


def test_the_curve_of_a_category_without_objects_is_minus_one(curves):
    assert curves.at(0.5, 5).tolist() == [-1.0] * 101


def test_unknown_thresholds_and_categories_are_refused(curves):
    with pytest.raises(ValueError, match=r"iou must be one of \[0.5, .*0.95\], got 0.52"):
        curves.at(0.52)
    with pytest.raises(ValueError, match=r"category_id must be one of \[3, 5, 9\], got 4"):
        curves.at(0.5, 4)


def test_the_mean_of_a_curve_is_the_ap(coco_val2014_100):
    annotations = coco_val2014_100 / "annotations" / "instances_val2014_100.json"
    results = coco_val2014_100 / "results" / "instances_val2014_fakesegm100_results.json"
    detections = json.loads(results.read_text())
    stats = evaluate_detections(annotations, detections, ("segm",))["segm"]
    curves = stats.curves

    assert curves.at().mean() == pytest.approx(stats.AP, abs=1e-12)
    assert curves.at(0.5).mean() == pytest.approx(stats.AP50, abs=1e-12)
    assert curves.at(0.75).mean() == pytest.approx(stats.AP75, abs=1e-12)
    for category_id, ap in stats.by_category.items():
        assert curves.at(category_id=category_id).mean() == pytest.approx(ap, abs=1e-12)


def test_the_mean_over_categories_of_a_size_is_the_ap_of_the_size(coco_val2014_100):
    annotations = coco_val2014_100 / "annotations" / "instances_val2014_100.json"
    results = coco_val2014_100 / "results" / "instances_val2014_fakebbox100_results.json"
    detections = json.loads(results.read_text())
    stats = evaluate_detections(annotations, detections, ("bbox",))["bbox"]

    for size in SIZES:
        found = [by_size[size] for by_size in stats.by_category_and_size.values()]
        with_objects = [ap for ap in found if ap > -1]
        assert 0 < len(with_objects) < len(found)
        assert np.mean(with_objects) == pytest.approx(getattr(stats, f"AP_{size}"), abs=1e-12)


def test_thresholds_and_recalls_are_those_of_pycocotools():
    from pycocotools.cocoeval import Params

    params = Params("segm")
    assert params.iouThrs.tolist() == IOU_THRESHOLDS.tolist()
    assert params.recThrs.tolist() == RECALLS.tolist()
    assert tuple(params.areaRngLbl[1:]) == SIZES


def test_the_table_has_a_column_for_the_ceiling_only_if_given(rectangles):
    metrics = CocoEvaluator(rectangles).summarize()

    header, first, *_, last = format_table(metrics)
    assert header == ["", "box", "mask", "meaning"]
    assert first == ["AP", "0.000", "0.000", "mean over IoU 0.50 to 0.95"]
    assert last[:3] == ["AR large", "-", "-"]
    assert format_table(metrics, metrics)[0][3] == "mask ceiling"
