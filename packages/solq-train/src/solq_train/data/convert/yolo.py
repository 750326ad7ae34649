"""YOLO segmentation folders: a text file an image, a polygon a line, coordinates in 0..1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from solq_train.data.convert.source import (
    Source,
    SourceImage,
    SourceObject,
    image_files,
    polygon,
    read_text,
    refuse,
    upright_size,
)
from solq_train.data.convert.yolo_names import class_names

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val"}
_TOLERANCE = 0.01  # of the image's side: what rounding and annotators' hands go beyond the border


def is_yolo(root: Path) -> bool:
    """Whether there are folders `images` and `labels` beside each other."""
    return bool(_label_folders(root))


def read_yolo(root: Path) -> Source:
    """All images with their polygons; class numbers become category ids.

    Looks for `images/…` with `labels/…` of the same names beside it, in the folder itself or, as
    Roboflow has it, in a folder of each split. Names of classes are in `data.yaml` or
    `classes.txt`.
    """
    names = class_names(root)
    source = Source(category_ids={name: number for number, name in enumerate(names)})
    for labels in _label_folders(root):
        images = labels.with_name("images")
        used: set[Path] = set()
        for path in image_files(images):
            name = path.relative_to(images)
            split, rest = _split_of(PurePosixPath(labels.parent.relative_to(root) / name))
            text = labels / name.with_suffix(".txt")
            used.add(text)
            if split is None:
                source.left_out["image of a test split"] += 1
                continue
            size = upright_size(path)
            objects = tuple(_objects(text, size, names, source)) if text.is_file() else ()
            image = SourceImage(path=path, name=str(rest), size=size, objects=objects)
            source.add(split, image)
        texts = {path for path in labels.rglob("*.txt") if path.name != "classes.txt"}
        source.left_out["label file without an image"] += len(texts - used)
    return source


def _label_folders(root: Path) -> list[Path]:
    candidates = [root / "labels", *sorted(root.glob("*/labels"))]
    return [path for path in candidates if path.is_dir() and path.with_name("images").is_dir()]


def _split_of(name: PurePosixPath) -> tuple[str | None, PurePosixPath]:
    """The split that the first folder of a path names, and the path without it; None: test."""
    first = name.parts[0].lower()
    if first.startswith("test") and len(name.parts) > 1:
        return None, name
    for prefix, split in _SPLITS.items():
        is_year = first[len(prefix) :].isdigit() or first == prefix
        if first.startswith(prefix) and is_year and len(name.parts) > 1:
            return split, PurePosixPath(*name.parts[1:])
    return "", name


def _objects(
    path: Path, size: tuple[int, int], names: list[str], source: Source
) -> Iterator[SourceObject]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        values = _numbers(path, number, words[1:])
        if not words[0].isdecimal() or int(words[0]) >= len(names):
            expected = f"the number of one of the {len(names)} classes"
            refuse(path, f"must begin with {expected}, got {words[0]!r:.40}", number)
        if len(values) == 4:
            source.left_out["YOLO box without a polygon"] += 1
            continue
        if len(values) < 6 or len(values) % 2:
            what = f"must be a class and at least 3 points x y, got {len(values)} numbers after it"
            refuse(path, what, number)
        height, width = size
        points = [
            (min(max(x, 0.0), 1.0) * width, min(max(y, 0.0), 1.0) * height)
            for x, y in zip(values[::2], values[1::2], strict=True)
        ]
        yield SourceObject(category=names[int(words[0])], segmentation=[polygon(points)])


def _numbers(path: Path, line: int, words: list[str]) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        wrong = next(word for word in words if not _is_number(word))
        refuse(path, f"must hold numbers, got {wrong!r:.40}", line)
    for value in values:
        if not math.isfinite(value) or not -_TOLERANCE <= value <= 1 + _TOLERANCE:
            what = f"coordinates must be shares of the image's sides in 0..1, got {value}"
            refuse(path, what, line)
    return values


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
