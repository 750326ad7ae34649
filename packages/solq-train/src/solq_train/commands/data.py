"""`solq data`: make the embedded data set; convert, check, split and look at any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from PIL import Image
from rich.console import Console

from solq_model.atomic import atomic_file
from solq_train.commands.output import as_table, prepare_file, results_folder
from solq_train.commands.samples import Samples
from solq_train.data import (
    CocoFile,
    CocoImage,
    Legend,
    Split,
    check_splits,
    contact_sheet,
    draw_record,
    find_split,
    make_shapes,
    read_coco,
    write_page,
    write_split,
)
from solq_train.data.convert import Format, convert
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
class Convert:
    """Make a data set folder in COCO layout out of the files of another annotation tool.

    YOLO segmentation folders, Pascal-VOC-style masks and Labelme files. Prints what was found, and
    what was left out and why. Images are hard links where the file system has them.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """Folder with images and annotations."""
    output: Annotated[Path, tyro.conf.Positional]
    """Folder to make; must be new or empty."""
    format: Annotated[Format | None, tyro.conf.arg(name="from")] = None
    """Format of the source; detected if not given."""
    val: float = 0.2
    """Share of the images for validation, where the source has none for it."""
    seed: int = 0
    """Another seed takes others for validation."""

    def run(self, console: Console) -> int:
        """Convert; the exit code."""
        made = convert(self.source, self.output, self.format, val=self.val, seed=self.seed)
        console.print(as_table(made.table()))
        text = f"made {self.output} from {self.source}, read as {made.format}"
        console.print(text, highlight=False, soft_wrap=True)
        return 0


@dataclass(frozen=True, kw_only=True)
class Check:
    """List all defects of a data set at once, with counts and the first examples.

    Decodes every image and draws every mask, and measures what the mask codec keeps of the objects:
    the ceiling of training. The exit code is 2 where something should be repaired, even if training
    would go on without it.
    """

    directory: Annotated[
        Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PATH]", help_behavior_hint="")
    ] = None
    """Data set folder in COCO layout; both its splits are checked."""
    annotations: Path | None = None
    """A single annotation file instead."""
    images: Path | None = None
    """The image folder of that file."""
    output: Path | None = None
    """HTML page to write, with the examples drawn."""
    read_images: bool = True
    """Whether to look at the image files; else at the annotation files alone."""
    coefficients: int = 256
    """Length of the mask vectors whose ceiling is measured."""
    ceiling_objects: int = 2000
    """About so many objects of each split are measured; 0 leaves the ceiling out."""

    def run(self, console: Console) -> int:
        """Check; the exit code."""
        splits = _splits(self.directory, self.annotations, self.images)
        if self.output is not None:
            prepare_file(self.output)
        with show_count(console, "check") as show:
            reports = check_splits(
                splits,
                show,
                read_images=self.read_images,
                num_coefficients=self.coefficients,
                quality_objects=self.ceiling_objects,
            )
        for report in reports:
            if report.summary is not None:
                console.print(as_table(report.summary_table()))
                console.print(as_table(report.category_table()))
            if report.quality is not None:
                title = f"what {report.quality.num_coefficients} coefficients keep of the masks"
                console.print(as_table(report.quality.table(), title))
            console.print(report.to_text(), markup=False, highlight=False, soft_wrap=True)
        if self.output is not None:
            write_page(self.output, reports, title=f"Check of {self.directory or self.annotations}")
            console.print(f"see {self.output}", highlight=False)
        return 2 if any(report.has_errors for report in reports) else 0


@dataclass(frozen=True, kw_only=True)
class View:
    """Draw images with their ground truth, or what training makes of both.

    With --recipe the pictures are those that training with this recipe sees in its first epochs.
    """

    directory: Annotated[
        Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PATH]", help_behavior_hint="")
    ] = None
    """Data set folder in COCO layout."""
    annotations: Path | None = None
    """A single annotation file instead."""
    images: Path | None = None
    """The image folder of that file."""
    split: Literal["train", "val"] = "train"
    """Which part of a folder."""
    image: tuple[int, ...] = ()
    """Ids of the images; none: the first ones of the file."""
    limit: int = 16
    """Most images where no ids are given."""
    output: Path
    """New folder with a picture for each image, or a .png or .jpg file for all on one sheet."""
    samples: Annotated[Samples, tyro.conf.arg(name="")] = field(default_factory=Samples)

    def run(self, console: Console) -> int:
        """Draw; the exit code."""
        if self.limit < 1:
            msg = f"limit must be at least 1, got {self.limit}"
            raise ValueError(msg)
        split = _splits(self.directory, self.annotations, self.images, (self.split,))[0]
        coco, legend, chosen = self._chosen(split)
        drawn = self._drawn(split, legend, chosen)
        if self.output.suffix.lower() in (".png", ".jpg", ".jpeg"):
            prepare_file(self.output)
            with atomic_file(self.output) as temporary:
                captions, pictures = zip(*((caption, p) for _, caption, p in drawn), strict=True)
                sheet = contact_sheet(pictures, captions)
                sheet.save(temporary, format="PNG" if self.output.suffix == ".png" else "JPEG")
        else:
            with results_folder(self.output):
                for name, _, picture in drawn:
                    picture.save(self.output / f"{name}.png")
        text = f"{len(chosen)} of {len(coco.images)} images, see {self.output}"
        console.print(text, highlight=False)
        return 0

    def _drawn(
        self, split: Split, legend: Legend, chosen: Sequence[CocoImage]
    ) -> Iterator[tuple[str, str, Image.Image]]:
        """Name, caption and picture, one after another."""
        if self.samples.recipe is None:
            for image in chosen:
                picture = draw_record(split.images, image, legend)
                yield str(image.id), f"{image.id}  {image.file_name}", picture
            return
        ids = [image.id for image in chosen]
        for image_id, epoch, picture in self.samples.draw(split, ids, legend):
            yield f"{image_id}_epoch{epoch}", f"{image_id}  epoch {epoch}", picture

    def _chosen(self, split: Split) -> tuple[CocoFile, Legend, list[CocoImage]]:
        coco = read_coco(split.annotations)
        by_id = {image.id: image for image in coco.images}
        unknown = [image_id for image_id in self.image if image_id not in by_id]
        if unknown:
            msg = f"image must be ids of {split.annotations}, got unknown {unknown[:5]}"
            raise ValueError(msg)
        chosen = [by_id[image_id] for image_id in self.image] or list(coco.images[: self.limit])
        return coco, Legend.of(coco), chosen


@dataclass(frozen=True, kw_only=True)
class SplitUp:
    """Make a data set folder with a training and a validation part from one annotated set.

    The same for the same seed; every category keeps its share in both parts. Images are hard links
    where the file system has them, and copies elsewhere.
    """

    directory: Annotated[
        Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[PATH]", help_behavior_hint="")
    ] = None
    """Data set folder in COCO layout, whose training part is divided."""
    annotations: Path | None = None
    """A single annotation file instead."""
    images: Path | None = None
    """The image folder of that file."""
    val: float = 0.2
    """Share of the images for validation."""
    seed: int = 0
    """Another seed gives other parts."""
    by_folder: bool = False
    """Whether the images of one folder stay together, such as the frames of a video."""
    output: Path
    """Folder to make; must be new or empty."""

    def run(self, console: Console) -> int:
        """Split; the exit code."""
        source = _splits(self.directory, self.annotations, self.images, ("train",))[0]
        parts = write_split(
            source.annotations,
            source.images,
            self.output,
            val=self.val,
            seed=self.seed,
            by_folder=self.by_folder,
        )
        text = f"{len(parts.train)} images to train on, {len(parts.val)} to validate"
        console.print(f"{text}, see {self.output}", highlight=False)
        return 0


@dataclass(frozen=True, kw_only=True)
class Data:
    """Make, convert, check, split or look at data sets."""

    action: Annotated[
        Annotated[MakeShapes, tyro.conf.subcommand("make-shapes", prefix_name=False)]
        | Annotated[Convert, tyro.conf.subcommand("convert", prefix_name=False)]
        | Annotated[Check, tyro.conf.subcommand("check", prefix_name=False)]
        | Annotated[View, tyro.conf.subcommand("view", prefix_name=False)]
        | Annotated[SplitUp, tyro.conf.subcommand("split", prefix_name=False)],
        tyro.conf.arg(name=""),
    ]

    def run(self, console: Console) -> int:
        """Run the action; the exit code."""
        return self.action.run(console)


def _splits(
    directory: Path | None,
    annotations: Path | None,
    images: Path | None,
    names: Sequence[str] = ("train", "val"),
) -> list[Split]:
    """The named splits of a folder, or the one that a file and its image folder are."""
    if directory is not None and annotations is None and images is None:
        return [find_split(directory, name) for name in names]
    if directory is None and annotations is not None and images is not None:
        return [Split(annotations=annotations, images=images)]
    msg = "give either a data set folder, or --annotations and --images"
    raise ValueError(msg)


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
