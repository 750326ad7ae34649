"""A report with little in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from solq_train.metrics import (
    IOU_THRESHOLDS,
    RECALLS,
    ApStats,
    CocoMetrics,
    EvaluatedCategory,
    PrecisionRecall,
)
from solq_train.metrics.confusion import Confusion
from solq_train.report import AttentionPicture, ExamplePicture, History, RunReport


def _stats(ap: float, by_category: dict[int, float]) -> ApStats:
    numbers = dict.fromkeys(ApStats.__annotations__, ap) | {"AP_large": -1.0}
    precision = np.empty((len(IOU_THRESHOLDS), len(RECALLS), len(by_category)))
    precision[:] = list(by_category.values())
    return ApStats(
        **numbers
        | {
            "by_category": by_category,
            "by_category_and_size": {
                number: {"small": value, "medium": value, "large": -1.0}
                for number, value in by_category.items()
            },
            "curves": PrecisionRecall(category_ids=tuple(by_category), precision=precision),
        }
    )


def _metrics(box: float, mask: float) -> CocoMetrics:
    return CocoMetrics(
        bbox=_stats(box, {1: box, 23: -1.0}),
        segm=_stats(mask, {1: mask, 23: -1.0}),
        categories=(
            EvaluatedCategory(id=23, name="dog", num_objects=0),
            EvaluatedCategory(id=1, name="cup", num_objects=8),
        ),
    )


@pytest.fixture
def run() -> RunReport:
    picture = ExamplePicture(
        title="Image 7",
        ground_truth=Image.new("RGB", (900, 300), "red"),
        prediction=Image.new("RGB", (900, 300), "blue"),
        caption="3 of 4 found",
    )
    training = tuple(
        {"step": step, "loss": 9.0 / step, "loss_ce": 1.0, "loss_ce_0": 2.0, "loss_ce_enc": 2.0}
        | {"lr": 1e-3, "images_per_second": 25.0}
        for step in range(10, 110, 10)
    )
    return RunReport(
        title="Shapes & <b>more</b>",
        command="solq train --recipe tiny",
        created="2026-11-22",
        environment={"torch": "2.15.0"},
        config={"seed": 0, "optimizer": {"rate": 0.001, "milestones": (40, 45)}, "resume": None},
        history=History(
            training=training, evaluations=({"step": 100, "bbox.AP": 0.5, "segm.AP": 0.4},)
        ),
        metrics=_metrics(0.765, 0.567),
        ceiling=_metrics(1.0, 0.9),
        confusion=Confusion(
            category_ids=(1, 23), counts=np.array([[5, 2, 1], [0, 0, 0], [1, 0, 0]])
        ),
        threshold=0.3,
        examples=(picture,),
        best=(replace(picture, title="Image 8", caption="all found"),),
        worst=(picture,),
        attention=(
            AttentionPicture(
                title="Image 8", picture=Image.new("RGB", (90, 30)), caption="query 4: cup"
            ),
        ),
        timing={"training": 281.4, "total": 311.0},
    )


@pytest.fixture
def metrics():
    """COCO numbers with these APs of boxes and masks, of a cup; there is no dog to find."""
    return _metrics
