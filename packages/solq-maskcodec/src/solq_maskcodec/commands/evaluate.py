"""`solq-maskcodec evaluate`: an annotation file → the table of what codecs keep of its objects."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich import box
from rich.table import Table

from ..atomic import atomic_file
from ..dataset.annotations import read_annotations
from ..dataset.coco_eval import SIZES, require_pycocotools
from ..dataset.comparison import CodecName, Comparison, compare_codecs
from .arguments import (
    check_not_empty,
    check_output,
    parse_coefficients,
    parse_rounds,
    parse_threshold,
)
from .terminal import Terminal

_COLUMNS = {
    "IoU": "iou",
    "p5": "iou_p5",
    "2-class": "two_class_iou",
    "boundary": "boundary_iou",
    "in image": "image_iou",
    "AP": "ap",
    "AP50": "ap50",
    "AP75": "ap75",
}


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Table of how much of the objects of a data set is left after encode and decode.

    IoU is the mean over objects of the foreground's in the box, p5 its 5th percentile, 2-class the
    mean with the background's, boundary that of the inner boundaries, "in image" that of the mask
    pasted back. AP is COCO's mask AP of the decoded masks as detections with perfect boxes.
    """

    annotations: Annotated[Path, tyro.conf.Positional]
    """COCO annotation file."""
    coefficients: tuple[str, ...] = ("16..1024",)
    """Lengths of vectors: numbers, or ranges by doubling such as 16..1024."""
    codec: tuple[CodecName, ...] = ("dct",)
    """dct; pca, fitted to some of the images, while all are evaluated on the others; efd, elliptic
    Fourier, which needs pyefd."""
    refine: tuple[int, ...] = (0, 10)
    """Rounds of refining for dct; 0 is plain."""
    threshold: str = "0.5"
    """Where decoded values are cut: a number, isodata, or midrange as published."""
    mask_size: int = 128
    """Side of the masks in their boxes, in pixels."""
    fit_share: float = 0.5
    """Share of the images that pca is fitted to."""
    output: Path | None = None
    """File for all numbers (.json)."""
    figure: Path | None = None
    """File for the curves (.png, .svg or .pdf)."""

    def run(self, terminal: Terminal) -> None:
        """Evaluate, print the table, write the files that are asked for."""
        coefficients, refine = parse_coefficients(self.coefficients), parse_rounds(self.refine)
        check_not_empty("--codec", self.codec, "of dct, pca, efd")
        if self.output is not None:
            check_output("--output", self.output, self.annotations, (".json",))
        if self.figure is not None:
            from ..dataset.figures import FORMATS

            check_output("--figure", self.figure, self.annotations, FORMATS)
        require_pycocotools()
        file = read_annotations(self.annotations)
        with terminal.progress("evaluate") as progress:
            comparison = compare_codecs(
                file,
                tuple(dict.fromkeys(self.codec)),
                coefficients,
                refine=refine,
                threshold=parse_threshold(self.threshold),
                mask_size=self.mask_size,
                fit_share=self.fit_share,
                progress=progress,
            )
        _show_tables(terminal, comparison)
        if self.output is not None:
            with atomic_file(self.output) as temporary:
                content = json.dumps(comparison.to_json(), indent=2, allow_nan=False)
                temporary.write_text(f"{content}\n", encoding="utf-8")
            terminal.show(f"wrote {self.output}")
        if self.figure is not None:
            from ..dataset.figures import comparison_figure, save_figure

            save_figure(comparison_figure(comparison), self.figure)
            terminal.show(f"wrote {self.figure}")


def _show_tables(terminal: Terminal, comparison: Comparison) -> None:
    table = _table("all objects", [*_COLUMNS])
    for row in comparison.codecs:
        numbers = [_shown(getattr(row.quality.all, field)) for field in _COLUMNS.values()]
        table.add_row(row.name, str(row.num_coefficients), *numbers)
    terminal.show(table)
    sizes = SIZES[1:]
    counts = [getattr(comparison.codecs[0].quality, size).num_objects for size in sizes]
    words = ", ".join(f"{count} {size}" for count, size in zip(counts, sizes, strict=True))
    table = _table(
        f"by size: {words}", [f"{name} {size}" for name in ("IoU", "AP") for size in sizes]
    )
    for row in comparison.codecs:
        of_size = [getattr(row.quality, size) for size in sizes]
        ious, aps = [_shown(one.iou) for one in of_size], [_shown(one.ap) for one in of_size]
        table.add_row(row.name, str(row.num_coefficients), *ious, *aps)
    terminal.show(table)
    terminal.show(comparison.caption())


def _table(title: str, columns: list[str]) -> Table:
    # Without padding all columns fit into 80 characters.
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    table.add_column("codec", no_wrap=True)
    for name in ("length", *columns):
        table.add_column(name, justify="right", min_width=5)
    return table


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
