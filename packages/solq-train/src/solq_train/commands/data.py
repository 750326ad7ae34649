"""`solq data`: make the embedded data set, check any data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from solq_train.commands.output import as_table
from solq_train.data import check_coco, make_shapes
from solq_train.data.layout import find_split
from solq_train.progress import show_count


@dataclass(frozen=True, kw_only=True)
class MakeShapes:
    """Make the embedded data set: shapes on textured backgrounds, the same for the same seed."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Folder to make; must be new, empty or an earlier one of this command."""
    num_train: int = 2048
    num_val: int = 64
    image_size: int = 128
    """Side of the images in pixels."""
    seed: int = 0

    def run(self, console: Console) -> int:
        """Make the data set; the exit code."""
        made = make_shapes_with_progress(self, console)
        console.print(f"{'made' if made else 'found'} {self.directory}", highlight=False)
        return 0


@dataclass(frozen=True, kw_only=True)
class Check:
    """List all defects of a data set at once, with counts and the first examples.

    Decodes every image and draws every mask. The exit code is 2 where training would refuse.
    """

    directory: Annotated[Path | None, tyro.conf.Positional] = None
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
            console.print(f"\n{file}", style="bold", highlight=False)
            console.print(as_table(report.summary_table()))
            if report.defects:
                console.print(as_table(report.defect_table()))
            else:
                console.print("no defects")
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
