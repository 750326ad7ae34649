"""An annotation file without a defect → its index, at once; None for any other.

The checks are those of `entries` and `segmentations`, made on columns and without words for what is
wrong: a file that fails one is read again by the slow way, which finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from jaxtyping import Int64

from solq_train.data.entries import LONGEST_SIDE, is_file_name
from solq_train.data.index import AnnotationIndex, integers, make_index
from solq_train.data.segmentations import LARGEST_COORDINATE, segmentation_fault


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    height: int
    width: int


class _Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    segmentation: msgspec.Raw
    iscrowd: int = 0


class _Document(msgspec.Struct, gc=False):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[dict[str, Any]]


_DOCUMENT = msgspec.json.Decoder(_Document)
_NOT_SOUND = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# Bounds are checked while numbers are read: twice as fast as asking lists for their extremes.
_Coordinate = Annotated[float, msgspec.Meta(ge=-LARGEST_COORDINATE, le=LARGEST_COORDINATE)]
_Polygon = Annotated[list[_Coordinate], msgspec.Meta(min_length=6)]
_POLYGONS = msgspec.json.Decoder(Annotated[list[_Polygon], msgspec.Meta(min_length=1)])


def read_sound_file(path: Path) -> tuple[AnnotationIndex, list[dict[str, Any]]] | None:
    """The index and the categories of a file in which nothing is wrong; None for any other."""
    try:
        document = _DOCUMENT.decode(path.read_bytes())
    except (OSError, *_NOT_SOUND):
        return None
    images, annotations = document.images, document.annotations
    image_ids = integers([image.id for image in images])
    order = np.argsort(image_ids, kind="stable")
    if not _are_sound_images(images) or not _are_sound_categories(document.categories):
        return None
    category_ids = {category["id"] for category in document.categories}
    if not all(
        annotation.iscrowd in (0, 1) and annotation.category_id in category_ids
        for annotation in annotations
    ):
        return None
    rows = _rows(integers([annotation.image_id for annotation in annotations]), image_ids, order)
    if rows is None or not _are_distinct([annotation.id for annotation in annotations]):
        return None
    by_image = [annotations[place] for place in np.argsort(rows, kind="stable").tolist()]
    counts = np.bincount(rows, minlength=len(images))
    if not _are_sound_segmentations(images, counts.tolist(), by_image):
        return None
    index = make_index(
        image_ids=[image.id for image in images],
        sizes=[(image.height, image.width) for image in images],
        names=[image.file_name for image in images],
        counts=counts.tolist(),
        annotation_ids=[annotation.id for annotation in by_image],
        category_ids=[annotation.category_id for annotation in by_image],
        boxes_xywh=[annotation.bbox for annotation in by_image],
        areas=[annotation.area for annotation in by_image],
        crowds=[bool(annotation.iscrowd) for annotation in by_image],
        segmentations=[annotation.segmentation for annotation in by_image],
    )
    return index, document.categories


def _are_sound_images(images: Sequence[_Image]) -> bool:
    return (
        len(images) > 0
        and _are_distinct([image.id for image in images])
        and all(
            1 <= image.height <= LONGEST_SIDE
            and 1 <= image.width <= LONGEST_SIDE
            and is_file_name(image.file_name)
            for image in images
        )
    )


def _are_sound_categories(categories: Sequence[dict[str, Any]]) -> bool:
    return all(
        type(category.get("id")) is int and type(category.get("name")) is str
        for category in categories
    ) and _are_distinct([category["id"] for category in categories])


def _are_distinct(ids: list[int]) -> bool:
    return len(set(ids)) == len(ids)


def _rows(
    wanted: np.ndarray[Any, Any], ids: np.ndarray[Any, Any], order: Int64[np.ndarray, " ids"]
) -> Int64[np.ndarray, " wanted"] | None:
    """Where each wanted id is among the ids, which `order` sorts; None if one is not there."""
    places = np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)
    rows = order[places]
    return rows if bool((ids[rows] == wanted).all()) else None


def _are_sound_segmentations(
    images: Sequence[_Image], counts: Sequence[int], annotations: Sequence[_Annotation]
) -> bool:
    remaining = iter(annotations)
    return all(
        _is_sound_segmentation(next(remaining).segmentation, (image.height, image.width))
        for image, count in zip(images, counts, strict=True)
        for _ in range(count)
    )


def _is_sound_segmentation(text: msgspec.Raw, image_size: tuple[int, int]) -> bool:
    try:
        polygons = _POLYGONS.decode(text)
    except msgspec.MsgspecError:  # no polygons, or not sound ones
        try:
            return segmentation_fault(msgspec.json.decode(text), image_size) is None
        except _NOT_SOUND:
            return False
    except _NOT_SOUND:
        return False
    return all(len(polygon) % 2 == 0 for polygon in polygons)
