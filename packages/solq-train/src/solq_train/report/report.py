"""A run → `report.html`: one self-contained page with numbers, curves and pictures.

`metrics.jsonl` holds one JSON object a line. A line with `loss` is a training record (`step`,
`loss`, its terms as `loss_…`, `lr`, `images_per_second`), one with `bbox.AP` or `segm.AP` an
evaluation at its `step`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from solq_model.atomic import atomic_file
from solq_train.metrics.ap_stats import ApStats, CocoMetrics, format_ap, format_table
from solq_train.report.charts import Series, line_chart
from solq_train.report.page import format_duration, page_template

LONG_TABLE = 24  # rows; longer category tables are folded

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class History:
    """The records of `metrics.jsonl`, in order of steps."""

    training: tuple[Record, ...]
    evaluations: tuple[Record, ...]


@dataclass(frozen=True, kw_only=True)
class ExamplePicture:
    """One image twice: under its ground truth and under its prediction."""

    title: str
    ground_truth: Image.Image
    prediction: Image.Image
    caption: str


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """All that the page says."""

    title: str
    command: str  # what was typed, ready to be typed again
    created: str
    environment: Mapping[str, str]
    config: Mapping[str, Any]  # nested
    history: History
    metrics: CocoMetrics
    ceiling: CocoMetrics | None  # None: a model without a mask codec
    examples: Sequence[ExamplePicture]
    worst: Sequence[ExamplePicture]
    timing: Mapping[str, float]  # what took how many seconds


@dataclass(frozen=True, kw_only=True)
class _Tile:
    """One headline number."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class _CategoryRow:
    """One line of the table of categories."""

    name: str
    id: int
    num_objects: int
    bars: tuple[tuple[str, float], ...]  # kind and AP, in the order of `_columns`


def write_report(path: Path, run: RunReport) -> None:
    """Writes the page, whole or not at all."""
    page = page_template("report/template.html.j2").render(
        run=run,
        tiles=_tiles(run),
        curves=_curves(run),
        table=format_table(run.metrics, run.ceiling),
        columns=_columns(run),
        categories=_category_rows(run),
        long_table=LONG_TABLE,
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def read_metrics(path: Path) -> History:
    """The training records and evaluations of a `metrics.jsonl`.

    A run that was stopped and resumed wrote some steps twice: the later ones stand. A last line
    that was cut off in writing is left out.
    """
    training: list[Record] = []
    evaluations: list[Record] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            step = record["step"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            msg = f"{path}, line {number}: expected a JSON object with `step`, got {line[:60]!r}"
            raise ValueError(msg) from error
        for kind, records in ((("loss",), training), (("bbox.AP", "segm.AP"), evaluations)):
            if any(key in record for key in kind):
                while records and records[-1]["step"] >= step:
                    records.pop()
                records.append(record)
    return History(training=tuple(training), evaluations=tuple(evaluations))


def _tiles(run: RunReport) -> list[_Tile]:
    box, mask, best = run.metrics.bbox, run.metrics.segm, _ceiling(run)
    tiles = [_Tile(label="Box AP", value=format_ap(box.AP), note=f"AP50 {format_ap(box.AP50)}")]
    if mask is not None:
        note = f"AP50 {format_ap(mask.AP50)}"
        tiles.append(_Tile(label="Mask AP", value=format_ap(mask.AP), note=note))
    if mask is not None and best is not None:
        share = f"reached: {100 * max(mask.AP, 0) / best.AP:.0f} %" if best.AP > 0 else ""
        tiles.append(_Tile(label="Mask AP ceiling", value=format_ap(best.AP), note=share))
    tiles += [
        _Tile(label=name, value=format_duration(seconds), note="")
        for name, seconds in run.timing.items()
    ]
    speeds = column(run.history.training, "images_per_second").y
    if speeds:
        median = sorted(speeds)[len(speeds) // 2]
        tiles.append(_Tile(label="Training speed", value=f"{median:.1f}", note="images a second"))
    return tiles


def _ceiling(run: RunReport) -> ApStats | None:
    """The mask AP that the codec allows, where there is one."""
    return None if run.ceiling is None else run.ceiling.segm


def _curves(run: RunReport) -> list[tuple[str, str]]:
    """Title and drawing of each chart."""
    training, evaluations = run.history.training, run.history.evaluations
    losses = [column(training, "loss", "total"), *_loss_terms(training)]
    average_precision = [
        column(evaluations, "bbox.AP", "box AP"),
        column(evaluations, "segm.AP", "mask AP"),
    ]
    x_range = from_zero([record["step"] for record in (*training, *evaluations)])
    ceiling = _ceiling(run)
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


def _columns(run: RunReport) -> dict[str, ApStats]:
    """What is shown of each category, by the bar's kind."""
    columns = {"box": run.metrics.bbox, "mask": run.metrics.segm, "ceiling": _ceiling(run)}
    return {kind: stats for kind, stats in columns.items() if stats is not None}


def _category_rows(run: RunReport) -> list[_CategoryRow]:
    """Categories by falling AP (`ranking_ap`); those without an object to find come last."""
    ranking = run.metrics.segm or run.metrics.bbox
    rows = [
        _CategoryRow(
            name=category.name,
            id=category.id,
            num_objects=category.num_objects,
            bars=tuple(
                (kind, stats.by_category[category.id]) for kind, stats in _columns(run).items()
            ),
        )
        for category in run.metrics.categories
    ]
    return sorted(rows, key=lambda row: -ranking.by_category[row.id])
