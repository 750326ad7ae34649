"""Numbers of a run → the charts of its report, each with its title."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from solq_train.metrics.ap_stats import (
    RECALLS,
    SIZES,
    ApStats,
    CocoMetrics,
    format_ap,
)
from solq_train.report.bars import bar_chart
from solq_train.report.charts import Series, line_chart
from solq_train.report.history import History, Record

MOST_CHOICES = 100  # categories with curves of their own, those with the most objects

Charts = list[tuple[str, str]]


def training_curves(history: History, ceiling: ApStats | None) -> Charts:
    """Loss, AP under the codec's ceiling, rate and speed over the steps."""
    training, evaluations = history.training, history.evaluations
    losses = [column(training, "loss", "total"), *_loss_terms(training)]
    average_precision = [
        column(evaluations, "bbox.AP", "box AP"),
        column(evaluations, "segm.AP", "mask AP"),
    ]
    x_range = from_zero([record["step"] for record in (*training, *evaluations)])
    if x_range is not None and ceiling is not None and ceiling.AP >= 0:
        level = [ceiling.AP] * 2
        average_precision.append(Series(name="mask ceiling", x=x_range, y=level, dashed=True))
    rate = column(training, "lr", "learning rate")
    speed = column(training, "images_per_second", "images a second")

    def chart(title: str, series: Sequence[Series], y_label: str, **axes: Any) -> tuple[str, str]:
        drawn = [line for line in series if line.y]
        title_in_full = f"{title} over training steps"
        drawing = line_chart(
            drawn, title=title_in_full, x_label="step", y_label=y_label, x_range=x_range, **axes
        )
        return title, drawing

    return [
        chart("Loss by term", losses, "loss (log)", log_y=True),
        chart("Average precision", average_precision, "AP", y_range=(0.0, 1.0)),
        chart("Learning rate", [rate], "rate", y_range=from_zero(rate.y, 1.05)),
        chart("Speed", [speed], "images / s", y_range=from_zero(speed.y, 1.05)),
    ]


def from_zero(values: Sequence[float], room: float = 1.0) -> tuple[float, float] | None:
    """The range from 0 to `room` times the largest value; None if there is none above 0."""
    largest = max((value for value in values if math.isfinite(value)), default=0.0)
    return (0.0, room * largest) if largest > 0 else None


def column(records: Sequence[Record], key: str, name: str = "") -> Series:
    """One entry of the records over their steps, where they have it."""
    having = [record for record in records if record.get(key) is not None]
    return Series(
        name=name, x=[record["step"] for record in having], y=[record[key] for record in having]
    )


def _loss_terms(records: Sequence[Record]) -> list[Series]:
    """The terms of the last decoder layer and of no layer before it, nor of the encoder."""
    keys = dict.fromkeys(key for record in records for key in record if key.startswith("loss_"))
    last = [key for key in keys if not re.fullmatch(r".*_(\d+|enc)", key)]
    return [column(records, key, key.removeprefix("loss_")) for key in last]


def size_chart(columns: Mapping[str, ApStats]) -> str:
    """AP among small, medium and large objects: of boxes, masks and the codec's ceiling."""
    values = {
        kind: [stats.AP_small, stats.AP_medium, stats.AP_large] for kind, stats in columns.items()
    }
    return bar_chart(SIZES, values, title="AP by size of the objects")


def precision_recall_charts(metrics: CocoMetrics) -> list[tuple[str, Charts]]:
    """For all categories together, then for each with objects: its name, a chart of each kind."""
    kinds = {"masks": metrics.segm, "boxes": metrics.bbox}
    stats = {kind: found for kind, found in kinds.items() if found is not None}
    most = sorted(metrics.categories, key=lambda category: -category.num_objects)[:MOST_CHOICES]
    with_objects = [category for category in most if category.num_objects]
    return [
        (
            name,
            [(kind, _precision_recall(found, number, kind, name)) for kind, found in stats.items()],
        )
        for name, number in (
            ("all categories", None),
            *sorted((category.name, category.id) for category in with_objects),
        )
    ]


def _precision_recall(stats: ApStats, category_id: int | None, kind: str, name: str) -> str:
    lines = []
    for of, iou in (("IoU 0.50", 0.5), ("IoU 0.75", 0.75), ("mean, 0.50 to 0.95", None)):
        precision = stats.curves.at(iou, category_id)
        if precision[0] >= 0:
            label = f"{of}: AP {format_ap(float(precision.mean()))}"
            lines.append(Series(name=of, x=RECALLS.tolist(), y=precision.tolist(), label=label))
    return line_chart(
        lines,
        title=f"Precision over recall of {kind}, {name}",
        x_label="recall",
        y_label="precision",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
    )
