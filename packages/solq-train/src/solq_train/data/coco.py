"""COCO annotation file → records, with every entry checked."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from solq_train.data.coco_records import CocoAnnotation as CocoAnnotation
from solq_train.data.coco_records import CocoImage as CocoImage
from solq_train.data.defects import DataError, Defect, DefectKind, Fault, Report, shown
from solq_train.data.entries import Section
from solq_train.data.index import CocoImages, indexed
from solq_train.data.segmentations import segmentation_fault, segmentation_mask
from solq_train.data.sound_file import read_sound_file


@dataclass(frozen=True, kw_only=True)
class CocoFile:
    """The records of one annotation file."""

    path: Path
    images: Sequence[CocoImage]
    categories: list[dict[str, Any]]


def read_coco(path: Path, *, annotated: bool = True) -> CocoFile:
    """The records of a COCO annotation file, in columns; DataError at its first defect.

    Unless it has to be `annotated`, 'annotations' may be missing, as in COCO's test sets.
    """

    def refuse(defect: Defect) -> None:
        msg = f"{path}: {defect.message}"
        raise DataError(msg)

    with without_collection():
        if (found := read_sound_file(path)) is not None:
            index, categories = found
            return CocoFile(path=path, images=CocoImages(index), categories=categories)
        coco = parse_coco(path, refuse, annotated=annotated)
        assert coco is not None, "only a reported defect gives None"
        return replace(coco, images=indexed(coco.images))


def parse_coco(path: Path, report: Report, *, annotated: bool = True) -> CocoFile | None:
    """The sound records of an annotation file; None if nothing can be read from it at all.

    Every defect goes to `report`, and the entry it is in is left out.
    """
    with without_collection():
        document = _load(path, report)
        if document is not None and not annotated:
            document.setdefault("annotations", [])
        return None if document is None else _records(path, document, report)


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection meanwhile: looking at millions of new lists takes half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _records(path: Path, document: dict[str, Any], report: Report) -> CocoFile:
    images = Section(document, "images", report)
    categories = Section(document, "categories", report)
    if images.is_list and not document["images"]:
        report(Defect(DefectKind.NO_IMAGES, "images", "must have at least one entry, got none"))
    annotations = _annotations_by_image(
        Section(document, "annotations", report), images, categories, report
    )
    return CocoFile(
        path=path,
        images=tuple(
            CocoImage(
                id=entry["id"],
                file_name=entry["file_name"],
                height=entry["height"],
                width=entry["width"],
                annotations=tuple(annotations[entry["id"]]),
            )
            for entry in images.sound.values()
        ),
        categories=list(categories.sound.values()),
    )


def annotation_mask(
    annotation: CocoAnnotation, image_size: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """The pixels an annotation covers in an image of this (height, width)."""
    fault = segmentation_fault(annotation.segmentation, image_size)
    if fault is not None:
        msg = f"annotation id {annotation.id}: {fault[1]}"
        raise DataError(msg)
    try:
        return segmentation_mask(annotation.segmentation, image_size)
    except ValueError as error:
        msg = f"annotation id {annotation.id}: {error}"
        raise DataError(msg) from error


def _load(path: Path, report: Report) -> dict[str, Any] | None:
    where = ""  # the file as a whole
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        report(Defect(DefectKind.NO_FILE, where, "no such annotation file"))
    except OSError as error:
        report(Defect(DefectKind.NO_FILE, where, f"cannot be read: {error.strerror}"))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        report(Defect(DefectKind.INVALID_JSON, where, f"must be JSON, but: {error.msg}"))
    except UnicodeDecodeError as error:
        what = f"must be JSON in UTF-8, but byte {error.start} is not ({error.reason})"
        report(Defect(DefectKind.INVALID_JSON, where, what))
    except RecursionError:
        report(Defect(DefectKind.INVALID_JSON, where, "must be COCO JSON, but is nested too deep"))
    else:
        if isinstance(document, dict):
            return document
        what = f"must be an object with images, annotations, categories, got {shown(document)}"
        report(Defect(DefectKind.WRONG_VALUE, "top level", what))
    return None


def _annotations_by_image(
    annotations: Section, images: Section, categories: Section, report: Report
) -> dict[int, list[CocoAnnotation]]:
    by_image: dict[int, list[CocoAnnotation]] = {image_id: [] for image_id in images.sound}
    for annotation_id, entry in annotations.sound.items():
        faults = _reference_faults(entry, images, categories)
        image = images.sound.get(entry["image_id"])
        if image is not None:
            image_size = (image["height"], image["width"])
            fault = segmentation_fault(entry["segmentation"], image_size)
            faults += [fault] if fault is not None else []
        for kind, what in faults:
            where = annotations.where(annotation_id)
            image_id = None if image is None else image["id"]
            report(Defect(kind, where, what, image_id, (annotation_id,)))
        if image is not None and not faults:
            by_image[image["id"]].append(_annotation(entry))
    return by_image


def _reference_faults(entry: dict[str, Any], images: Section, categories: Section) -> list[Fault]:
    faults: list[Fault] = []
    # A section that is no list at all is one defect, not one for each annotation.
    if images.is_list and entry["image_id"] not in images.places:
        what = f"'image_id' must be the id of an image of the file, got {entry['image_id']}"
        faults.append((DefectKind.UNKNOWN_IMAGE, what))
    if categories.is_list and entry["category_id"] not in categories.places:
        what = f"'category_id' must be the id of a category of the file, got {entry['category_id']}"
        faults.append((DefectKind.UNKNOWN_CATEGORY, what))
    return faults


def _annotation(entry: dict[str, Any]) -> CocoAnnotation:
    x, y, width, height = map(float, entry["bbox"])
    return CocoAnnotation(
        id=entry["id"],
        category_id=entry["category_id"],
        bbox_xywh=(x, y, width, height),
        segmentation=entry["segmentation"],
        area=float(entry["area"]),
        is_crowd=bool(entry.get("iscrowd", 0)),
    )
