"""`solq submit`: a model on a test set → the zip file for COCO's server; and the check of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from solq_model import SOLQ
from solq_train.commands.output import prepare_output
from solq_train.data import CocoFile, read_coco
from solq_train.data.dataset import check_files
from solq_train.models import open_model
from solq_train.progress import show_count, show_steps
from solq_train.run import resolve_device
from solq_train.submission import (
    MOST_DETECTIONS,
    Kind,
    Parts,
    archive_name,
    check_archive,
    find_objects,
    image_set_of,
    manifest_of,
    write_archive,
)

SOME_FAILED = 1  # the exit code where images could not be read
HAS_PROBLEMS = 2


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Find the objects of a test set and write the zip file that COCO's server takes.

    Writes `detections_<image set>_<name>_results.zip` into OUTPUT, with boxes and masks, and checks
    it. Results are kept in `parts/` on the way: a run that was stopped goes on with --resume, and
    the file comes out the same. Images that cannot be read are told; there is no file then, and the
    exit code is 1. Put them right and --resume.
    """

    model: str
    """Saved model (a folder such as runs/demo/best), hub id (owner/name), or published file."""
    data: Path
    """File of the images and categories, such as image_info_test-dev2017.json; needs no objects."""
    images: Path
    """Folder of the images."""
    output: Path
    """Folder for the results; must be new or empty unless --resume is given."""
    name: str = "solq"
    """What the algorithm is called in the names of the files."""
    image_set: str | None = None
    """What the set is called there; by default as in the name of the data file."""
    kind: Kind = "both"
    """Boxes and masks, or one of them. Given both, COCO's tools sort masks into small, medium and
    large by the areas of the boxes."""
    top_k: int = 100
    """Detections per image; COCO counts no more than 100."""
    batch_size: int = 1
    """Images at a time."""
    num_workers: int = 0
    """Processes that load images; 0 loads them in this one."""
    device: str = "auto"
    """auto: the GPU where there is one, else the CPU."""
    resume: bool = False
    """Go on with what is in OUTPUT, which must be of the same model, data and settings."""

    def run(self, console: Console) -> int:
        """Find the objects; the exit code."""
        self._check_arguments()
        stem = archive_name(self.image_set or image_set_of(self.data), self.name)
        coco = read_coco(self.data, annotated=False)
        check_files(coco.images, self.images)
        model = open_model(self.model, self.data).to(resolve_device(self.device))
        _check_model(model, coco, self.kind)
        parts = Parts(folder=self.output, num_images=len(coco.images))
        prepare_output(self.output, resume=self.resume, resumable=parts.is_begun())
        manifest = manifest_of(model, self.data, top_k=self.top_k, batch_size=self.batch_size)
        if self.resume:
            parts.resume(manifest)
        else:
            parts.begin(manifest)
        num_failed = self._find(model, coco, parts, console)
        if num_failed:
            images = "image" if num_failed == 1 else "images"
            console.print(
                f"no file was written: {num_failed} {images} could not be read; "
                "--resume goes on when they can be",
                highlight=False,
            )
            return SOME_FAILED
        path = self.output / f"{stem}.zip"
        with console.status("write the archive"):
            write_archive(path, parts.lines(), kind=self.kind, size=parts.num_bytes())
        return _report(path, coco, console)

    def _check_arguments(self) -> None:
        if not 1 <= self.top_k <= MOST_DETECTIONS:
            msg = f"top_k must be 1 to {MOST_DETECTIONS}, got {self.top_k}"
            raise ValueError(msg)
        for name, least in (("batch_size", 1), ("num_workers", 0)):
            if getattr(self, name) < least:
                msg = f"{name} must be at least {least}, got {getattr(self, name)}"
                raise ValueError(msg)

    def _find(self, model: SOLQ, coco: CocoFile, parts: Parts, console: Console) -> int:
        """Find what is not found yet; how many images could not be read."""
        left = sum(len(parts.images_of(part)) for part in parts.missing())
        done = len(coco.images) - left
        with show_steps(console, "find objects", len(coco.images), done=done) as advance:
            return find_objects(
                model,
                coco.images,
                self.images,
                parts,
                advance,
                top_k=self.top_k,
                batch_size=self.batch_size,
                num_workers=self.num_workers,
            )


@dataclass(frozen=True, kw_only=True)
class CheckSubmission:
    """Look for everything in a zip file of results that COCO's server would refuse or misread.

    The exit code is 2 where there is anything.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The zip file, of whatever program."""
    data: Path
    """File of the images and categories, such as image_info_test-dev2017.json; needs no objects."""

    def run(self, console: Console) -> int:
        """Check; the exit code."""
        return _report(self.file, read_coco(self.data, annotated=False), console)


def _check_model(model: SOLQ, coco: CocoFile, kind: Kind) -> None:
    """Refuses now what the check of the file would refuse in the end."""
    asked = {int(category["id"]) for category in coco.categories}
    unknown = sorted({entry.id for entry in model.categories.entries} - asked)
    if unknown:
        msg = f"model must know categories of {coco.path} only, but knows the ids {unknown[:10]}"
        raise ValueError(msg)
    if kind != "bbox" and not model.config.has_masks:
        msg = f"kind must be bbox for a model that finds boxes only, got {kind}"
        raise ValueError(msg)


def _report(path: Path, coco: CocoFile, console: Console) -> int:
    """Check an archive and say what was found; the exit code."""
    with show_count(console, "check, kB") as show:
        problems = check_archive(path, coco, show)
    for message in problems.first:
        console.print(message, highlight=False, markup=False, soft_wrap=True)
    if problems.count > len(problems.first):
        console.print(f"… and {problems.count - len(problems.first)} more", highlight=False)
    size = path.stat().st_size / 1e6
    verdict = "no problems" if not problems.count else f"{problems.count} problems"
    console.print(
        f"{path}: {size:.1f} MB, {problems.detections} detections in {len(coco.images)} images "
        f"({problems.images_without} without any), {verdict}",
        highlight=False,
        soft_wrap=True,
    )
    return HAS_PROBLEMS if problems.count else 0
