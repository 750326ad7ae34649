"""`solq data`: make the embedded data set, check any data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from solq_train.commands.output import as_table
from solq_train.data import check_coco, find_split, make_shapes
from solq_train.progress import show_count


@dataclass(frozen=True, kw_only=True)
class MakeShapes:
    """Make the embedded data set: shapes on textured backgrounds, the same for the same seed."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Folder to make; must be new, empty or an earlier one of this command."""
    num_train: int = 2048
    """Images to train on."""
    num_val: int = 64
    """Unseen images to evaluate on."""
    image_size: int = 128
    """Side of the images in pixels."""
    seed: int = 0
    """Another seed gives other images."""

    def run(self, console: Console) -> int:
        """Make the data set; the exit code."""
        made = make_shapes_with_progress(self, console)
        console.print(f"{'made' if made else 'found'} {self.directory}", highlight=False)
        return 0


@dataclass(frozen=True, kw_only=True)
class Check:
    """List all defects of a data set at once, with counts and the first examples.

    Decodes every image and draws every mask. The exit code is 2 where something should be repaired,
    even if training would go on without it.
    """

    directory: Annotated[
        Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PATH]", help_behavior_hint="")
    ] = None
    """Data set folder in COCO layout; both its splits are checked."""
    annotations: Path | None = None
    """A single annotation file instead."""
    images: Path | None = None
    """The image folder of that file."""

    def run(self, console: Console) -> int:
        """Check; the exit code."""
        failed = False
        for file, folder in self._files():
            with show_count(console, "check") as show:
                report = check_coco(file, folder, show)
            if report.summary is not None:
                console.print(as_table(report.summary_table()))
                console.print(as_table(report.category_table()))
            console.print(report.to_text(), markup=False, highlight=False, soft_wrap=True)
            failed = failed or report.has_errors
        return 2 if failed else 0

    def _files(self) -> list[tuple[Path, Path]]:
        if self.directory is not None and self.annotations is None:
            splits = [find_split(self.directory, split) for split in ("train", "val")]
            return [(split.annotations, split.images) for split in splits]
        if self.directory is None and self.annotations is not None and self.images is not None:
            return [(self.annotations, self.images)]
        msg = "give either a data set folder, or --annotations and --images"
        raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Make or check data sets."""

    action: Annotated[
        Annotated[MakeShapes, tyro.conf.subcommand("make-shapes", prefix_name=False)]
        | Annotated[Check, tyro.conf.subcommand("check", prefix_name=False)],
        tyro.conf.arg(name=""),
    ]

    def run(self, console: Console) -> int:
        """Run the action; the exit code."""
        return self.action.run(console)


def make_shapes_with_progress(shapes: MakeShapes, console: Console) -> bool:
    """Make the data set under a progress bar; False where it was there already."""
    with show_count(console, "shapes") as show:
        return make_shapes(
            shapes.directory,
            num_train=shapes.num_train,
            num_val=shapes.num_val,
            image_size=shapes.image_size,
            seed=shapes.seed,
            progress=show,
        )
