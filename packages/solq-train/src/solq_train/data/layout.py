"""Folder in COCO layout → the annotation file and image folder of a split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from solq_train.data.defects import DataError

ROBOFLOW = "_annotations.coco.json"
ROBOFLOW_FOLDERS = {"val": ("valid", "val")}


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where the annotations and the images of a split are."""

    annotations: Path
    images: Path


def find_split(directory: Path, split: str) -> Split:
    """The split `train` or `val` of a data set folder.

    Annotations are `annotations/instances_<split>.json`, with or without a year; images are in a
    folder of the same name (`train2017`), of the split's name (`train`) or in `images`. Or, as
    Roboflow exports them, `_annotations.coco.json` lies beside the images in `train` or `valid`.
    """
    if not directory.is_dir():
        msg = f"data set {directory}: no such folder"
        raise DataError(msg)
    for images in (directory / name for name in ROBOFLOW_FOLDERS.get(split, (split,))):
        if (images / ROBOFLOW).is_file():
            return Split(annotations=images / ROBOFLOW, images=images)
    folder = directory / "annotations"
    pattern = re.compile(rf"instances_({split}(\d{{4}})?)\.json")
    found = [path for path in sorted(folder.glob("*.json")) if pattern.fullmatch(path.name)]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        expected = f"one annotations/instances_{split}[year].json (or {split}/{ROBOFLOW})"
        msg = f"data set {directory}: expected {expected}, found {names}"
        raise DataError(msg)
    match = pattern.fullmatch(found[0].name)
    assert match is not None
    candidates = [directory / match[1], directory / split, directory / "images"]
    for images in candidates:
        if images.is_dir():
            return Split(annotations=found[0], images=images)
    names = ", ".join(dict.fromkeys(f"{path.name}/" for path in candidates))
    msg = f"data set {directory}: expected the images of {found[0].name} in one of {names}"
    raise DataError(msg)
