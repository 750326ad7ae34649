"""A comparison of runs → one self-contained HTML page, in the manner of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from solq_model.atomic import atomic_file
from solq_train.comparison.bootstrap import Interval
from solq_train.comparison.differences import (
    CategoryDifference,
    category_row,
    format_difference,
    number_rows,
    setting_rows,
    time_rows,
    titles,
)
from solq_train.comparison.images import ImageDifference
from solq_train.comparison.runs import CommonData, FinishedRun
from solq_train.data import Legend, load_image
from solq_train.data.drawing import draw_ground_truth
from solq_train.metrics import CocoMetrics, format_ap
from solq_train.report.charts import Series, line_chart
from solq_train.report.drawings import column, from_zero
from solq_train.report.page import Tile, page_template
from solq_train.report.pictures import draw_detections


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that the page says."""

    created: str
    command: str
    runs: Sequence[FinishedRun]
    data: CommonData
    metrics: Sequence[CocoMetrics]  # of each run
    categories: Sequence[CategoryDifference]
    intervals: Sequence[Interval]  # of each run after the first; none without resamples
    images: Sequence[ImageDifference]  # those to be shown
    threshold: float  # smallest score that counts in these images

    @property
    def ranked_by(self) -> str:
        """The AP that categories and intervals are of: that of masks, where all runs have them."""
        return "mask AP" if all(run.has_masks for run in self.runs) else "box AP"


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    """One image under its ground truth and under what each run found."""

    title: str
    ground_truth: Image.Image
    found: tuple[tuple[str, str, Image.Image], ...]  # name of the run, quality, picture


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Writes the page, whole or not at all."""
    legend = Legend.of(comparison.data.coco)
    page = page_template("comparison/template.html.j2").render(
        comparison=comparison,
        names=[run.name for run in comparison.runs],
        titles=titles(comparison.runs),
        tiles=_tiles(comparison),
        curves=_curves(comparison.runs),
        numbers=number_rows(comparison.metrics),
        categories=[category_row(row) for row in comparison.categories],
        settings=setting_rows(comparison.runs),
        times=time_rows(comparison.runs),
        pictures=(_pictures(comparison, image, legend) for image in comparison.images),
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _tiles(comparison: Comparison) -> list[Tile]:
    tiles = []
    for label, values in (
        ("Mask AP", [m.segm.AP if m.segm is not None else None for m in comparison.metrics]),
        ("Box AP", [m.bbox.AP for m in comparison.metrics]),
    ):
        for run, value in zip(comparison.runs, values, strict=True):
            if value is not None:
                difference = format_difference(values[0], value)
                note = f"{difference} against {comparison.runs[0].name}"
                is_first = run is comparison.runs[0] or not difference
                tiles.append(
                    Tile(
                        label=f"{label}, {run.name}",
                        value=format_ap(value),
                        note="" if is_first else note,
                    )
                )
    return tiles


def _curves(runs: Sequence[FinishedRun]) -> list[tuple[str, str]]:
    """Title and drawing of each chart, which has a line for each run."""
    steps = [
        record["step"]
        for run in runs
        for record in (*run.history.training, *run.history.evaluations)
    ]
    x_range = from_zero(steps)

    def lines(key: str, *, evaluations: bool) -> list[Series]:
        drawn = [
            column(run.history.evaluations if evaluations else run.history.training, key, run.name)
            for run in runs
        ]
        return [line for line in drawn if line.y]

    charts = [
        ("Loss", "loss", "loss (log)", False),
        ("Mask AP", "segm.AP", "AP", True),
        ("Box AP", "bbox.AP", "AP", True),
        ("Learning rate", "lr", "rate", False),
        ("Speed", "images_per_second", "images / s", False),
    ]
    drawings = []
    for title, key, y_label, evaluations in charts:
        series = lines(key, evaluations=evaluations)
        values = [value for line in series for value in line.y]
        is_loss = key == "loss"
        drawing = line_chart(
            series,
            title=f"{title} over training steps",
            x_label="step",
            y_label=y_label,
            x_range=x_range,
            y_range=None if is_loss else from_zero(values, 1.05),
            log_y=is_loss,
        )
        drawings.append((title, drawing))
    return drawings


def _pictures(comparison: Comparison, difference: ImageDifference, legend: Legend) -> _Pictures:
    picture = load_image(comparison.data.images, difference.image)
    found = zip(comparison.runs, difference.qualities, difference.detections, strict=True)
    return _Pictures(
        title=difference.image.file_name,
        ground_truth=draw_ground_truth(picture, difference.image, legend),
        found=tuple(
            (run.name, f"{quality:.2f}", draw_detections(picture, detections, legend))
            for run, quality, detections in found
        ),
    )
