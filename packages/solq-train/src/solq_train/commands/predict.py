"""`solq predict`: a model on images and videos → pictures, masks and COCO detections."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image
from rich.console import Console

from solq_model.images import image_files
from solq_model.solq import SOLQ
from solq_train.commands.output import results_folder
from solq_train.commands.prediction_files import PredictionFiles, prediction_files
from solq_train.models import open_model
from solq_train.progress import show_steps
from solq_train.run import resolve_device
from solq_train.video import VIDEO_SUFFIXES, Frame, Video, open_video

SOME_FAILED = 1  # the exit code where there are results, but not of all that was asked for

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Tally:
    """How it went so far."""

    objects: int = 0
    results: int = 0  # images and frames
    failed: list[ValueError] = field(default_factory=list)

    def leave_out(self, error: ValueError) -> None:
        """Tell what could not be read, or not to its end."""
        self.failed.append(error)
        logger.warning("left out: %s", error)


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Find the objects in images and videos: draws them and writes COCO detections.

    Writes into OUTPUT a picture for each image, an MP4 for each video, and `predictions.json`,
    whose `image_id` is the file name; detections in a video have `frame` and `seconds` besides.
    What cannot be read is told and left out; the exit code is then 1. Videos need the extra
    `video`.
    """

    images: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="FILE [FILE ...]", help_behavior_hint=""),
    ]
    """Image files, videos (told by an ending such as .mp4), or folders of images."""
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
    frame_step: int = 1
    """Of a video, take every so many-th frame."""
    overlays: bool = True
    """Draw the objects into the images and videos."""
    masks: bool = False
    """Write each mask as a PNG of its own: masks/NAME/NUMBER-CATEGORY.png."""
    polygons: bool = False
    """In predictions.json, masks as polygons in place of run lengths."""
    device: str = "auto"
    """auto: the GPU where there is one, else the CPU."""

    def run(self, console: Console) -> int:
        """Predict; the exit code."""
        if self.frame_step < 1:
            msg = f"frame_step must be at least 1, got {self.frame_step}"
            raise ValueError(msg)
        files = _files(self.images)
        with results_folder(self.output):
            tally = self._predict(files, console)
        num_failed = len(tally.failed)
        files_left = f"{num_failed} file{'' if num_failed == 1 else 's'}"
        left_out = f", {files_left} could not be read" if num_failed else ""
        console.print(
            f"{tally.objects} objects in {_images(tally.results)}{left_out}, see {self.output}",
            highlight=False,
        )
        return SOME_FAILED if num_failed else 0

    def _predict(self, files: list[Path], console: Console) -> _Tally:
        """Write the results; memory grows neither with images nor with the length of videos."""
        videos = [open_video(file) for file in files if _is_video(file)]
        model = open_model(self.model).to(resolve_device(self.device))
        names = _distinct_names(files)
        tally = _Tally()
        with prediction_files(
            self.output, overlays=self.overlays, masks=self.masks, polygons=self.polygons
        ) as output:
            images = {file: names[file] for file in files if not _is_video(file)}
            self._predict_images(model, images, output, tally, console)
            for video in videos:
                self._predict_video(model, video, names[video.path], output, tally, console)
        if tally.failed and not tally.results:
            raise tally.failed[0]
        return tally

    def _predict_images(
        self,
        model: SOLQ,
        names: dict[Path, str],
        output: PredictionFiles,
        tally: _Tally,
        console: Console,
    ) -> None:
        if not names:
            return
        with show_steps(console, "predict", len(names)) as advance:

            def leave_out(_index: int, error: ValueError) -> None:
                tally.leave_out(error)
                advance()

            results = model.predict_each(
                list(names),
                threshold=self.threshold,
                top_k=self.top_k,
                batch_size=self.batch_size,
                on_error=leave_out,
            )
            for result in results:
                assert result.path is not None
                output.add_image(result, result.path, names[result.path])
                tally.objects += len(result)
                tally.results += 1
                advance(text=f"{result.path.name}: {len(result)} objects")

    def _predict_video(
        self,
        model: SOLQ,
        video: Video,
        name: str,
        output: PredictionFiles,
        tally: _Tally,
        console: Console,
    ) -> None:
        read: deque[Frame] = deque()

        def pictures() -> Iterator[Image.Image]:
            # A file that breaks off must not take along the frames that wait for their batch.
            try:
                for frame in video.frames(self.frame_step):
                    read.append(frame)
                    yield frame.picture
            except ValueError as error:
                tally.leave_out(error)

        results = model.predict_each(
            pictures(), threshold=self.threshold, top_k=self.top_k, batch_size=self.batch_size
        )
        total = -(-video.num_frames // self.frame_step)
        with (
            output.add_video(video.path, name, video.rate / self.frame_step) as add,
            show_steps(console, f"predict {video.path.name}", total) as advance,
        ):
            for result in results:
                add(result, read.popleft())
                tally.objects += len(result)
                tally.results += 1
                advance(text=f"{len(result)} objects")


def _files(paths: tuple[Path, ...]) -> list[Path]:
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


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEO_SUFFIXES


def _images(number: int) -> str:
    return f"{number} image{'' if number == 1 else 's'}"


def _distinct_names(files: list[Path]) -> dict[Path, str]:
    """A name without an ending for each file; the same name from two folders gets a number."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for file in files:
        name, number = file.stem, 1
        while name in taken:
            number += 1
            name = f"{file.stem}-{number}"
        taken.add(name)
        names[file] = name
    return names
