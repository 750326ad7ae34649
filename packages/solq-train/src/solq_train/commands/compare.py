"""`solq compare`: finished runs → where their numbers, settings and images differ."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from solq_train.commands.output import as_table, prepare_file
from solq_train.comparison import (
    Comparison,
    ImageDifference,
    category_differences,
    category_row,
    common_data,
    image_differences,
    intervals,
    number_rows,
    read_runs,
    setting_rows,
    time_rows,
    titles,
    write_comparison,
)
from solq_train.metrics.scoring import IouType
from solq_train.progress import show_steps

LISTED = 10  # categories and images in the terminal


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare finished runs: COCO's numbers, categories, settings, times, and single images.

    All must have been evaluated on the same data. Differences are to the first run. With OUTPUT,
    also writes an HTML page with curves and with the images where the runs differ most.
    """

    runs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN RUN [RUN ...]", help_behavior_hint=""),
    ]
    """Folders of finished runs."""
    data: Path | None = None
    """Data set folder; by default where the first run found it."""
    output: Path | None = None
    """HTML page to write."""
    threshold: float = 0.3
    """Smallest score that counts in single images."""
    images: int = 12
    """Images on the page."""
    resamples: int = 500
    """Resamples of the images that tell how far a difference of AP may be chance; 0 for none."""

    def run(self, console: Console) -> int:
        """Compare; the exit code."""
        self._check_arguments()
        with console.status("read the runs"):
            runs = read_runs(self.runs)
            data = common_data(runs, self.data)
        with console.status("evaluate"):
            metrics = [run.metrics(data.coco) for run in runs]
        with show_steps(console, "compare images", len(data.coco.images)) as advance:
            images = image_differences(data.coco, runs, self.threshold, advance)
        iou_type: IouType = "segm" if all(run.has_masks for run in runs) else "bbox"
        found = []
        if self.resamples:
            with show_steps(console, "resample images", self.resamples) as advance:
                detections = [run.detections for run in runs]
                found = intervals(data.coco, detections, iou_type, self.resamples, advance)
        comparison = Comparison(
            created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            command="solq " + shlex.join(sys.argv[1:]),
            runs=runs,
            data=data,
            metrics=metrics,
            categories=category_differences(metrics),
            intervals=found,
            images=images[: self.images],
            threshold=self.threshold,
        )
        _print(comparison, images, console)
        if self.output is not None:
            with console.status("draw"):
                write_comparison(self.output, comparison)
            console.print(f"page {self.output}", highlight=False, soft_wrap=True)
        return 0

    def _check_arguments(self) -> None:
        if not 0 <= self.threshold <= 1:
            msg = f"threshold must be in 0..1, got {self.threshold}"
            raise ValueError(msg)
        for name in ("images", "resamples"):
            if getattr(self, name) < 0:
                msg = f"{name} must be at least 0, got {getattr(self, name)}"
                raise ValueError(msg)
        if self.output is not None:
            prepare_file(self.output)


def _print(comparison: Comparison, images: Sequence[ImageDifference], console: Console) -> None:
    runs = comparison.runs
    names, columns = [run.name for run in runs], titles(runs)
    tables = {
        "numbers": [["", *columns], *number_rows(comparison.metrics)],
        f"{comparison.ranked_by} by category, the largest differences first": [
            ["category", "id", "objects", *columns],
            *map(category_row, comparison.categories[:LISTED]),
        ],
        "settings that differ": [["", *names], *setting_rows(runs)],
        "time, speed and versions": [["", *names], *time_rows(runs)],
        "quality of images, the largest differences first": [
            ["image", *names],
            *(
                [image.image.file_name, *(f"{quality:.2f}" for quality in image.qualities)]
                for image in images[:LISTED]
            ),
        ],
    }
    for title, rows in tables.items():
        if len(rows) > 1:
            console.print(as_table(rows, title))
    for name, interval in zip(names[1:], comparison.intervals, strict=False):
        text = f"{comparison.ranked_by} of {name} minus that of {names[0]}: {interval}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
