"""`solq predict`: a model on images → pictures and COCO detections."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image
from rich.console import Console

from solq_model.atomic import atomic_file
from solq_train.commands.output import results_folder
from solq_train.models import open_model
from solq_train.progress import show_steps
from solq_train.run import resolve_device


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Find the objects in images: draws them and writes COCO detections.

    Writes into OUTPUT a picture for each image and `predictions.json`, whose `image_id` is the
    file name.
    """

    images: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint=""),
    ]
    """Image files, or folders of images."""
    model: Path
    """Saved model (a folder such as runs/demo/best), or a published .pth file."""
    output: Path
    """Folder for the results; must be new or empty."""
    threshold: float = 0.5
    """Smallest score that counts."""
    top_k: int = 100
    """Most objects in one image."""
    device: str = "auto"
    """auto: the GPU where there is one, else the CPU."""

    def run(self, console: Console) -> int:
        """Predict; the exit code."""
        files = _image_files(self.images)
        with results_folder(self.output):
            num_found = self._predict(files, console)
        console.print(
            f"{num_found} objects in {len(files)} images, see {self.output}", highlight=False
        )
        return 0

    def _predict(self, files: list[Path], console: Console) -> int:
        """Write pictures and detections; the number of objects found."""
        model = open_model(self.model).to(resolve_device(self.device))
        detections = []
        names = _distinct_names(files)
        with show_steps(console, "predict", len(files)) as advance:
            for file in files:
                result = model.predict(file, threshold=self.threshold, top_k=self.top_k)
                result.save(self.output / names[file])
                detections += result.to_coco(file.name)
                advance(text=f"{file.name}: {len(result)} objects")
        with atomic_file(self.output / "predictions.json") as temporary:
            temporary.write_text(json.dumps(detections), encoding="utf-8")
        return len(detections)


def _image_files(paths: tuple[Path, ...]) -> list[Path]:
    known = Image.registered_extensions()
    files = []
    for path in paths:
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() in known]
            if not inside:
                msg = f"images {path}: expected image files in the folder, found none"
                raise ValueError(msg)
            files += inside
        elif path.exists():
            files.append(path)
        else:
            msg = f"images {path}: no such file or folder"
            raise ValueError(msg)
    if not files:
        msg = "images: expected at least one file or folder, got none"
        raise ValueError(msg)
    return files


def _distinct_names(files: list[Path]) -> dict[Path, str]:
    """A PNG name for each file; the same name from two folders gets a number."""
    names: dict[Path, str] = {}
    for file in files:
        name, number = f"{file.stem}.png", 1
        while name in names.values():
            number += 1
            name = f"{file.stem}-{number}.png"
        names[file] = name
    return names
