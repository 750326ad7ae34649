"""One annotated set of images → training and validation parts, the same for the same seed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from solq_train.data.coco import CocoFile, CocoImage, read_coco
from solq_train.data.dataset import check_files
from solq_train.data.folders import link_or_copy, new_folder
from solq_train.data.layout import Split


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The image ids of each part, in the order of the file."""

    train: tuple[int, ...]
    val: tuple[int, ...]

    def items(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The parts by the names of their splits."""
        return (("train", self.train), ("val", self.val))


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """Images that stay together, and the categories of their objects."""

    images: tuple[CocoImage, ...]
    categories: frozenset[int]


def split_images(
    images: Sequence[CocoImage], val: float, seed: int, *, by_folder: bool = False
) -> Parts:
    """The parts of a set, with about the share `val` of the images of every category in `val`.

    Rare categories are served first, so those in two images or more come into both parts wherever
    possible. Which images are taken depends on file names and the seed, not on their order. With
    `by_folder` the images of one folder stay together, such as the frames of a video.
    """
    if not 0 < val < 1:
        msg = f"val must be a share between 0 and 1, got {val}"
        raise ValueError(msg)
    units = sorted(_units(images, by_folder), key=lambda unit: _chance(unit, seed))
    if len(units) < 2:
        what = "folders" if by_folder else "images"
        msg = f"expected at least 2 {what} to split, got {len(units)}"
        raise ValueError(msg)
    chosen = _stratified(units, val)
    ids = {image.id for unit in chosen for image in unit.images}
    return Parts(
        train=tuple(image.id for image in images if image.id not in ids),
        val=tuple(image.id for image in images if image.id in ids),
    )


def write_split(
    annotations: Path,
    images: Path,
    output: Path,
    *,
    val: float,
    seed: int = 0,
    by_folder: bool = False,
) -> Parts:
    """A new data set folder in COCO layout, whose images are hard links where these work.

    Entries keep their ids and all their keys.
    """
    coco = read_coco(annotations)
    check_files(coco.images, images)
    parts = split_images(coco.images, val, seed, by_folder=by_folder)
    document: dict[str, Any] = json.loads(annotations.read_bytes())
    with new_folder(output) as folder:
        for name, ids in parts.items():
            write_part(folder, name, _narrowed(document, frozenset(ids)))
            for entry in _of(coco, ids):
                target = folder / name / entry.file_name
                if not target.exists():  # a file may be recorded twice
                    link_or_copy(images / entry.file_name, target)
    return parts


def write_part(folder: Path, split: str, document: dict[str, Any]) -> Split:
    """Writes the annotation file of a split and makes the folder of its images."""
    part = Split(
        annotations=folder / "annotations" / f"instances_{split}.json", images=folder / split
    )
    part.annotations.parent.mkdir(exist_ok=True)
    part.images.mkdir()
    part.annotations.write_text(json.dumps(document) + "\n", encoding="utf-8")
    return part


def _units(images: Sequence[CocoImage], by_folder: bool) -> list[_Unit]:
    groups = defaultdict[str, list[CocoImage]](list)
    for image in images:
        name = PurePosixPath(image.file_name)
        groups[str(name.parent if by_folder else image.id)].append(image)
    return [
        _Unit(
            images=tuple(group),
            categories=frozenset(
                item.category_id
                for image in group
                for item in image.annotations
                if not item.is_crowd
            ),
        )
        for group in groups.values()
    ]


def _chance(unit: _Unit, seed: int) -> bytes:
    text = f"{seed} {unit.images[0].file_name}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _stratified(units: Sequence[_Unit], val: float) -> list[_Unit]:
    """Units for `val`, rare categories first: later ones find part of their share there already."""
    num_units = Counter(category for unit in units for category in unit.categories)
    chosen: dict[int, _Unit] = {}
    kept: set[int] = set()  # decided to stay in `train`
    for category, number in sorted(num_units.items(), key=lambda item: (item[1], item[0])):
        with_it = [index for index, unit in enumerate(units) if category in unit.categories]
        wanted = min(max(round(val * number), 1), number - 1)
        free = [index for index in with_it if index not in chosen and index not in kept]
        missing = max(wanted - sum(index in chosen for index in with_it), 0)
        chosen |= {index: units[index] for index in free[:missing]}
        kept |= set(free[missing:])
    rest = [index for index in range(len(units)) if index not in chosen and index not in kept]
    wanted = round(val * len(rest)) if chosen else max(round(val * len(rest)), 1)
    chosen |= {index: units[index] for index in rest[:wanted]}
    return list(chosen.values())


def _narrowed(document: dict[str, Any], image_ids: frozenset[int]) -> dict[str, Any]:
    return {
        **document,
        "images": [entry for entry in document["images"] if entry["id"] in image_ids],
        "annotations": [
            entry for entry in document["annotations"] if entry["image_id"] in image_ids
        ],
    }


def _of(coco: CocoFile, image_ids: Sequence[int]) -> list[CocoImage]:
    wanted = frozenset(image_ids)
    return [image for image in coco.images if image.id in wanted]
