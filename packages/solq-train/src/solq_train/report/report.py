"""A run → `report.html`: one self-contained page with numbers, curves and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from solq_model.atomic import atomic_file
from solq_train.metrics.ap_stats import (
    ApStats,
    CocoMetrics,
    EvaluatedCategory,
    format_ap,
    format_table,
)
from solq_train.metrics.confusion import Confusion
from solq_train.report.drawings import (
    column,
    precision_recall_charts,
    size_chart,
    training_curves,
)
from solq_train.report.history import History
from solq_train.report.page import Tile, format_duration, page_template

MOST_CONFUSED = 16  # categories of the matrix; more could not be read


@dataclass(frozen=True, kw_only=True)
class ExamplePicture:
    """One image twice: under its ground truth and under its prediction."""

    title: str
    ground_truth: Image.Image
    prediction: Image.Image
    caption: str


@dataclass(frozen=True, kw_only=True)
class AttentionPicture:
    """What one query of the network looked at in an image."""

    title: str
    picture: Image.Image
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
    confusion: Confusion
    threshold: float  # score from which on detections are drawn, judged and counted as confused
    examples: Sequence[ExamplePicture]
    best: Sequence[ExamplePicture]
    worst: Sequence[ExamplePicture]
    attention: Sequence[AttentionPicture]
    timing: Mapping[str, float]  # what took how many seconds


@dataclass(frozen=True, kw_only=True)
class _CategoryRow:
    """One line of the table of categories."""

    name: str
    id: int
    num_objects: int
    bars: tuple[tuple[str, float], ...]  # kind and AP, in the order of `_columns`
    sizes: tuple[float, ...]  # AP of small, medium and large objects


def write_report(path: Path, run: RunReport) -> None:
    """Writes the page, whole or not at all."""
    page = page_template("report/template.html.j2").render(
        run=run,
        tiles=_tiles(run),
        curves=training_curves(run.history, _ceiling(run)),
        sizes=size_chart(_columns(run)),
        table=format_table(run.metrics, run.ceiling),
        columns=_columns(run),
        categories=_category_rows(run),
        precision_recall=precision_recall_charts(run.metrics),
        confusion=_confusion_table(run.confusion, run.metrics.categories),
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _tiles(run: RunReport) -> list[Tile]:
    box, mask, best = run.metrics.bbox, run.metrics.segm, _ceiling(run)
    tiles = [Tile(label="Box AP", value=format_ap(box.AP), note=f"AP50 {format_ap(box.AP50)}")]
    if mask is not None:
        note = f"AP50 {format_ap(mask.AP50)}"
        tiles.append(Tile(label="Mask AP", value=format_ap(mask.AP), note=note))
    if mask is not None and best is not None:
        share = f"reached: {100 * max(mask.AP, 0) / best.AP:.0f} %" if best.AP > 0 else ""
        tiles.append(Tile(label="Mask AP ceiling", value=format_ap(best.AP), note=share))
    tiles += [
        Tile(label=name, value=format_duration(seconds), note="")
        for name, seconds in run.timing.items()
    ]
    speeds = column(run.history.training, "images_per_second").y
    if speeds:
        median = sorted(speeds)[len(speeds) // 2]
        tiles.append(Tile(label="Training speed", value=f"{median:.1f}", note="images a second"))
    return tiles


def _ceiling(run: RunReport) -> ApStats | None:
    """The mask AP that the codec allows, where there is one."""
    return None if run.ceiling is None else run.ceiling.segm


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
            sizes=tuple(ranking.by_category_and_size[category.id].values()),
        )
        for category in run.metrics.categories
    ]
    return sorted(rows, key=lambda row: -ranking.by_category[row.id])


@dataclass(frozen=True, kw_only=True)
class _ConfusionTable:
    """The matrix as it is shown: each cell with its count and its share of the row."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int, float], ...]], ...]
    num_left_out: int  # categories


def _confusion_table(
    confusion: Confusion, categories: Sequence[EvaluatedCategory]
) -> _ConfusionTable:
    name_of = {category.id: category.name for category in categories}
    shown = confusion.most_confused(MOST_CONFUSED)
    names = tuple(name_of[category_id] for category_id in shown.category_ids)
    rows = []
    for name, counts in zip((*names, "nothing"), shown.counts.tolist(), strict=True):
        total = max(1, sum(counts))
        rows.append((name, tuple((count, count / total) for count in counts)))
    return _ConfusionTable(
        names=(*names, "not found"),
        rows=tuple(rows),
        num_left_out=len(confusion.category_ids) - len(names),
    )
