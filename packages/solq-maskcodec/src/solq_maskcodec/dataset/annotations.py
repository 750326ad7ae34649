"""COCO annotation file → its images and objects, with every entry checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..image.polygons import polygons_to_rle
from ..image.rle import masks_to_rle, rle_to_masks

_SHOWN = 80  # characters of a wrong value in a message


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotatedObject:
    """One object, or one crowd, as the file has it."""

    id: int
    category_id: int
    bbox_xywh: tuple[float, float, float, float]  # pixels
    segmentation: Any  # polygons or RLE; checked by `AnnotationFile.rle`
    area: float | None  # pixels; None where the file does not say
    is_crowd: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotatedImage:
    """One image and all its objects, crowds too, in the order of the file."""

    id: int
    size: tuple[int, int]  # height, width
    objects: tuple[AnnotatedObject, ...]

    def boxes(self, objects: Sequence[AnnotatedObject]) -> NDArray[np.float32]:
        """Corners (x0, y0, x1, y1) of the objects' boxes in the image, [instances, 4]."""
        boxes = np.array([item.bbox_xywh for item in objects], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        height, width = self.size
        return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))

    def encodable(self) -> list[AnnotatedObject]:
        """The objects that have a vector: no crowds, none whose box has no area in the image."""
        objects = [item for item in self.objects if not item.is_crowd]
        corners = self.boxes(objects)
        has_area: NDArray[np.bool_] = np.all(corners[:, 2:] > corners[:, :2], axis=1)
        return [item for item, kept in zip(objects, has_area.tolist(), strict=True) if kept]


@dataclass(frozen=True, kw_only=True)
class AnnotationFile:
    """What an annotation file says; `name` is what errors call it."""

    name: str
    images: tuple[AnnotatedImage, ...]
    category_ids: tuple[int, ...]

    @property
    def num_objects(self) -> int:
        """All objects but the crowds."""
        return sum(not item.is_crowd for image in self.images for item in image.objects)

    def rle(self, image: AnnotatedImage, item: AnnotatedObject) -> dict[str, Any]:
        """The object's mask in the image as compressed RLE; ValueError for a broken one."""
        segmentation = item.segmentation
        try:
            if isinstance(segmentation, list):
                return polygons_to_rle(segmentation, image.size)
            if not isinstance(segmentation, Mapping):
                msg = f"segmentation must be polygons or RLE, got {_shown(segmentation)}"
                raise ValueError(msg)
            if tuple(segmentation.get("size", ())) != image.size:
                expected, got = list(image.size), _shown(segmentation.get("size"))
                msg = f"size of segmentation must be {expected} as the image's, got {got}"
                raise ValueError(msg)
            # Reading it is the check, also of counts that are compressed already.
            return masks_to_rle(rle_to_masks([segmentation]))[0]
        except (TypeError, ValueError) as error:
            msg = f"{self.name}: annotation id {item.id}: segmentation is broken: {error}"
            raise ValueError(msg) from error


def read_annotations(annotations: Path | str | Mapping[str, Any]) -> AnnotationFile:
    """The records of a COCO annotation file, or of its content.

    Needs `images` (id, height, width), `categories` (id) and `annotations` (id, image_id,
    category_id, bbox, segmentation; area and iscrowd where there are). Raises ValueError, with the
    name of the file and the entry, for the first that is wrong.
    """
    if isinstance(annotations, Mapping):
        name, document = "annotations", annotations
    else:
        name, document = str(annotations), _load(Path(annotations))
    try:
        images, category_ids = _parsed(document)
    except _BrokenEntryError as error:
        msg = f"{name}: {error}"
        raise ValueError(msg) from None
    return AnnotationFile(name=name, images=images, category_ids=category_ids)


class _BrokenEntryError(Exception):
    """Tells which entry of the file is wrong, what was expected and what came."""


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        msg = f"{path}: expected a COCO annotation file in JSON, got at {place}: {error.msg}"
        raise ValueError(msg) from error
    except (UnicodeDecodeError, RecursionError) as error:
        what = "bytes that are no text" if isinstance(error, UnicodeDecodeError) else "deep nesting"
        msg = f"{path}: expected a COCO annotation file in JSON, got {what}"
        raise ValueError(msg) from error


class _Kind(NamedTuple):
    """What the value of a key has to be, in words and as a test."""

    words: str
    accepts: Callable[[Any], bool]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_box(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 4 and all(map(_is_number, value))


_INTEGER = _Kind("an integer", _is_integer)
_SIDE = _Kind("an integer of at least 1", lambda value: _is_integer(value) and value >= 1)
_NUMBER = _Kind("a finite number", _is_number)
_FLAG = _Kind("0 or 1", lambda value: value in (0, 1))
_BOX = _Kind("four finite numbers [x, y, width, height]", _is_box)
_SEGMENTATION = _Kind("polygons or RLE", lambda value: isinstance(value, list | Mapping))


def _parsed(document: Any) -> tuple[tuple[AnnotatedImage, ...], tuple[int, ...]]:
    """The images with their objects, and the ids of the categories."""
    if not isinstance(document, Mapping):
        _refuse("top level", "an object with images, categories and annotations", document)
    entries = {key: _entries(document, key, kind) for key, kind in _LISTS.items()}
    sizes = {
        number: (_value(entry, where, "height", _SIDE), _value(entry, where, "width", _SIDE))
        for number, where, entry in entries["images"]
    }
    category_ids = frozenset(number for number, _, _ in entries["categories"])
    objects: dict[int, list[AnnotatedObject]] = {image_id: [] for image_id in sizes}
    for number, where, entry in entries["annotations"]:
        item, image_id = _object(number, where, entry), _value(entry, where, "image_id", _INTEGER)
        if item.category_id not in category_ids:
            _refuse(f"{where}: category_id", "the id of a category of the file", item.category_id)
        if image_id not in objects:
            _refuse(f"{where}: image_id", "the id of an image of the file", image_id)
        objects[image_id].append(item)
    images = tuple(
        AnnotatedImage(id=image_id, size=size, objects=tuple(objects[image_id]))
        for image_id, size in sizes.items()
    )
    return images, tuple(sorted(category_ids))


_LISTS = {"images": "image", "categories": "category", "annotations": "annotation"}


def _entries(
    document: Mapping[str, Any], key: str, kind: str
) -> list[tuple[int, str, Mapping[str, Any]]]:
    """The id, the words that name it, and the content of each entry of one list of the file."""
    listed = document.get(key, _MISSING)
    if not isinstance(listed, list):
        _refuse(f"key {key}", "a list", listed)
    entries: dict[int, tuple[int, str, Mapping[str, Any]]] = {}
    for index, entry in enumerate(listed):
        where = f"{key}[{index}]"
        if not isinstance(entry, Mapping):
            _refuse(where, "an object", entry)
        number = _value(entry, where, "id", _INTEGER)
        if number in entries:
            _refuse(f"{where}: id", "one that no other entry has", number)
        entries[number] = number, f"{kind} id {number}", entry
    return list(entries.values())


def _object(number: int, where: str, entry: Mapping[str, Any]) -> AnnotatedObject:
    x, y, width, height = map(float, _value(entry, where, "bbox", _BOX))
    return AnnotatedObject(
        id=number,
        category_id=_value(entry, where, "category_id", _INTEGER),
        bbox_xywh=(x, y, width, height),
        segmentation=_value(entry, where, "segmentation", _SEGMENTATION),
        area=float(_value(entry, where, "area", _NUMBER)) if "area" in entry else None,
        # LVIS has no crowds and no such key.
        is_crowd=bool(_value(entry, where, "iscrowd", _FLAG)) if "iscrowd" in entry else False,
    )


def _value(entry: Mapping[str, Any], where: str, key: str, kind: _Kind) -> Any:
    """The value of a key that has to be there and of its kind."""
    value = entry.get(key, _MISSING)
    if value is _MISSING or not kind.accepts(value):
        _refuse(f"{where}: {key}", kind.words, value)
    return value


class _Missing:
    def __repr__(self) -> str:
        return "no such key"


_MISSING = _Missing()


def _refuse(where: str, expected: str, got: object) -> NoReturn:
    msg = f"{where} must be {expected}, got {_shown(got)}"
    raise _BrokenEntryError(msg)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
