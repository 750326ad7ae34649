"""What `solq predict` writes: pictures or videos with objects drawn, masks, COCO detections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from PIL import Image

from solq_maskcodec import rle_to_masks
from solq_model.draw import save_picture
from solq_model.result import Result
from solq_train.json_list import json_list
from solq_train.video import Frame, write_video

DETECTIONS = "predictions.json"
MASKS = "masks"

Add = Callable[[Result, Frame], None]


@dataclass(frozen=True, kw_only=True)
class PredictionFiles:
    """Writes results into a folder as they come; none is kept."""

    folder: Path
    write_detection: Callable[[object], None]
    overlays: bool
    masks: bool
    polygons: bool

    def add_image(self, result: Result, path: Path, name: str) -> None:
        """Write what was found in an image file; `name` is that of its files, without an ending."""
        if self.overlays:
            result.save(self.folder / f"{name}.png")
        self._write_masks(result, name)
        for detection in result.to_coco(path.name, polygons=self.polygons):
            self.write_detection(detection)

    @contextmanager
    def add_video(self, path: Path, name: str, rate: Fraction) -> Iterator[Add]:
        """Gives a function that writes what was found in the next frame of a video file."""
        with (
            write_video(self.folder / f"{name}.mp4", rate) if self.overlays else nullcontext()
        ) as draw:

            def add(result: Result, frame: Frame) -> None:
                if draw is not None:
                    draw(result.plot())
                self._write_masks(result, name, f"{frame.number:06d}-")
                place = {"frame": frame.number, "seconds": round(frame.seconds, 6)}
                for detection in result.to_coco(path.name, polygons=self.polygons):
                    self.write_detection(detection | place)

            yield add

    def _write_masks(self, result: Result, name: str, prefix: str = "") -> None:
        """A PNG of black and white for each object; one mask is laid out at a time."""
        if not self.masks or not len(result):
            return
        folder = self.folder / MASKS / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, (rle, label) in enumerate(zip(result.rle(), result.labels, strict=True)):
            picture = Image.fromarray(rle_to_masks([rle])[0])
            save_picture(picture, folder / f"{prefix}{number:03d}-{label}.png")


@contextmanager
def prediction_files(
    folder: Path, *, overlays: bool, masks: bool, polygons: bool
) -> Iterator[PredictionFiles]:
    """The files of a prediction; the list of detections is there when all of them are."""
    with json_list(folder / DETECTIONS) as write:
        yield PredictionFiles(
            folder=folder,
            write_detection=write,
            overlays=overlays,
            masks=masks,
            polygons=polygons,
        )
