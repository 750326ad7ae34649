"""`solq predict`: a model on images → pictures and COCO detections."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from solq_model.atomic import atomic_file
from solq_model.images import image_files
from solq_train.commands.output import results_folder
from solq_train.models import open_model
from solq_train.progress import show_steps
from solq_train.run import resolve_device

DETECTIONS = "predictions.json"
SOME_FAILED = 1  # the exit code where there are results, but not of every image

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Find the objects in images: draws them and writes COCO detections.

    Writes into OUTPUT a picture for each image and `predictions.json`, whose `image_id` is the
    file name. An image that cannot be read is told and left out; the exit code is then 1.
    """

    images: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint=""),
    ]
    """Image files, or folders of images."""
    model: str
    """Saved model (a folder such as runs/demo/best), hub id (owner/name), or published file."""
    output: Path
    """Folder for the results; must be new or empty."""
    threshold: float = 0.5
    """Smallest score that counts."""
    top_k: int = 100
    """Most objects in one image."""
    batch_size: int = 4
    """Images that pass the network together; changes time and memory, not results."""
    polygons: bool = False
    """Write masks as polygons in place of run lengths."""
    device: str = "auto"
    """auto: the GPU where there is one, else the CPU."""

    def run(self, console: Console) -> int:
        """Predict; the exit code."""
        files = _image_files(self.images)
        with results_folder(self.output):
            num_objects, num_failed = self._predict(files, console)
        num_read = len(files) - num_failed
        images = "image" if num_failed == 1 else "images"
        left_out = f", {num_failed} {images} could not be read" if num_failed else ""
        console.print(
            f"{num_objects} objects in {num_read} images{left_out}, see {self.output}",
            highlight=False,
        )
        return SOME_FAILED if num_failed else 0

    def _predict(self, files: list[Path], console: Console) -> tuple[int, int]:
        """Write pictures and detections; the numbers of objects found and of images left out.

        Memory does not grow with the number of images.
        """
        model = open_model(self.model).to(resolve_device(self.device))
        names = _distinct_names(files)
        failed: dict[int, ValueError] = {}
        num_objects = 0
        with (
            show_steps(console, "predict", len(files)) as advance,
            _json_list(self.output / DETECTIONS) as write,
        ):

            def leave_out(index: int, error: ValueError) -> None:
                failed[index] = error
                logger.warning("left out: %s", error)
                advance()

            results = model.predict_each(
                files,
                threshold=self.threshold,
                top_k=self.top_k,
                batch_size=self.batch_size,
                on_error=leave_out,
            )
            for result in results:
                assert result.path is not None
                result.save(self.output / names[result.path])
                for detection in result.to_coco(result.path.name, polygons=self.polygons):
                    write(detection)
                num_objects += len(result)
                advance(text=f"{result.path.name}: {len(result)} objects")
        if len(failed) == len(files):
            raise failed[0]
        return num_objects, len(failed)


@contextmanager
def _json_list(path: Path) -> Iterator[Callable[[object], None]]:
    """Writes items into a JSON list that is never held as a whole; it is there when complete."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        before = "["

        def write(item: object) -> None:
            nonlocal before
            file.write(before + json.dumps(item))
            before = ",\n"

        yield write
        file.write("[]\n" if before == "[" else "]\n")


def _image_files(paths: tuple[Path, ...]) -> list[Path]:
    """All files, those of folders among them, each once; ValueError for a path that is none."""
    files: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            msg = f"images {path}: no such file or folder"
            raise ValueError(msg)
        files |= dict.fromkeys(image_files(path) if path.is_dir() else [path])
    if not files:
        msg = "images: expected at least one file or folder, got none"
        raise ValueError(msg)
    return list(files)


def _distinct_names(files: list[Path]) -> dict[Path, str]:
    """A PNG name for each file; the same name from two folders gets a number."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for file in files:
        name, number = f"{file.stem}.png", 1
        while name in taken:
            number += 1
            name = f"{file.stem}-{number}.png"
        taken.add(name)
        names[file] = name
    return names
