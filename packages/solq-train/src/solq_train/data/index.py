"""The images and annotations of a file in columns: held once, shared by all processes.

Records of Python objects would be copied into every worker of a loader: reading an object writes
its reference count, and with it the page of memory that it shares with its parent. Arrays are only
read. Measured in docs/decisions/0011-annotation-index.md.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, overload

import msgspec
import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped, UInt8

from solq_train.data.coco_records import CocoAnnotation, CocoImage
from solq_train.data.segmentations import Segmentation

_SURROGATES = "surrogatepass"  # halves of characters, which JSON can hold and UTF-8 cannot


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotationIndex:
    """The columns of an annotation file; annotations lie image by image, in the file's order.

    Segmentations stay the JSON they came as, which is smaller than its numbers are in memory.
    """

    image_ids: Shaped[np.ndarray, " images"]  # int64, or objects where an id has more bits
    heights: Int64[np.ndarray, " images"]
    widths: Int64[np.ndarray, " images"]
    names: UInt8[np.ndarray, " bytes"]  # UTF-8, one after another
    name_ends: Int64[np.ndarray, " images"]
    first: Int64[np.ndarray, " images+1"]  # where the annotations of each image begin
    annotation_ids: Shaped[np.ndarray, " annotations"]
    category_ids: Shaped[np.ndarray, " annotations"]
    boxes_xywh: Float64[np.ndarray, "annotations 4"]
    areas: Float64[np.ndarray, " annotations"]
    crowds: Bool[np.ndarray, " annotations"]
    segmentations: UInt8[np.ndarray, " bytes"]  # JSON, one after another
    segmentation_ends: Int64[np.ndarray, " annotations"]

    def annotation(self, row: int) -> CocoAnnotation:
        """The record of an annotation."""
        x, y, width, height = self.boxes_xywh[row].tolist()
        return CocoAnnotation(
            id=int(self.annotation_ids[row]),
            category_id=int(self.category_ids[row]),
            bbox_xywh=(x, y, width, height),
            segmentation=_segmentation(_piece(self.segmentations, self.segmentation_ends, row)),
            area=float(self.areas[row]),
            is_crowd=bool(self.crowds[row]),
        )

    def image(self, row: int, annotations: Sequence[CocoAnnotation]) -> CocoImage:
        """The record of an image, with these of its annotations."""
        return CocoImage(
            id=int(self.image_ids[row]),
            file_name=_piece(self.names, self.name_ends, row).decode(errors=_SURROGATES),
            height=int(self.heights[row]),
            width=int(self.widths[row]),
            annotations=annotations,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: where the columns can be mapped from, not the columns."""
        objects = {
            name: column for name, column in _columns(self).items() if column.dtype.hasobject
        }
        return _map_columns, (_write_columns(self), objects)


class CocoImages(Sequence[CocoImage]):
    """The images of an index, or some of them; each becomes a record when it is looked at."""

    def __init__(
        self,
        columns: AnnotationIndex,
        rows: Int64[np.ndarray, " selected"] | None = None,
        kept: Bool[np.ndarray, " annotations"] | None = None,
    ) -> None:
        self.columns = columns
        self.rows = np.arange(len(columns.image_ids)) if rows is None else rows
        self._kept = kept

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> CocoImage: ...
    @overload
    def __getitem__(self, place: slice) -> CocoImages: ...
    def __getitem__(self, place: int | slice) -> CocoImage | CocoImages:
        if isinstance(place, slice):
            return CocoImages(self.columns, self.rows[place], self._kept)
        row = int(self.rows[place])
        first, end = self.columns.first[row], self.columns.first[row + 1]
        annotations = np.arange(first, end)
        if self._kept is not None:
            annotations = annotations[self._kept[first:end]]
        return self.columns.image(row, _Annotations(self.columns, annotations))

    def __eq__(self, other: object) -> bool:
        return _are_equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    def keep(self, kept: Bool[np.ndarray, " annotations"]) -> CocoImages:
        """The same images with these annotations of the index only."""
        return CocoImages(self.columns, self.rows, kept)


class _Annotations(Sequence[CocoAnnotation]):
    """Annotations of an image; each becomes a record when it is looked at."""

    def __init__(self, columns: AnnotationIndex, rows: Int64[np.ndarray, " annotations"]) -> None:
        self._columns = columns
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> CocoAnnotation: ...
    @overload
    def __getitem__(self, place: slice) -> _Annotations: ...
    def __getitem__(self, place: int | slice) -> CocoAnnotation | _Annotations:
        if isinstance(place, slice):
            return _Annotations(self._columns, self._rows[place])
        return self._columns.annotation(int(self._rows[place]))

    def __eq__(self, other: object) -> bool:
        return _are_equal(self, other)

    __hash__ = None  # type: ignore[assignment]


def indexed(images: Iterable[CocoImage]) -> CocoImages:
    """The records in columns."""
    if isinstance(images, CocoImages):
        return images
    images = list(images)
    annotations = [annotation for image in images for annotation in image.annotations]
    return CocoImages(
        make_index(
            image_ids=[image.id for image in images],
            sizes=[(image.height, image.width) for image in images],
            names=[image.file_name for image in images],
            counts=[len(image.annotations) for image in images],
            annotation_ids=[annotation.id for annotation in annotations],
            category_ids=[annotation.category_id for annotation in annotations],
            boxes_xywh=[annotation.bbox_xywh for annotation in annotations],
            areas=[annotation.area for annotation in annotations],
            crowds=[annotation.is_crowd for annotation in annotations],
            # Not msgspec's, which has no numbers of more than 64 bits to write.
            segmentations=[json.dumps(a.segmentation).encode() for a in annotations],
        )
    )


def make_index(
    *,
    image_ids: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    names: Sequence[str],
    counts: Sequence[int],
    annotation_ids: Sequence[int],
    category_ids: Sequence[int],
    boxes_xywh: Sequence[tuple[float, ...]],
    areas: Sequence[float],
    crowds: Sequence[bool],
    segmentations: Sequence[bytes | msgspec.Raw],
) -> AnnotationIndex:
    """An index of what lies in these lists; `counts` annotations belong to each image, in turn."""
    heights_widths = np.array(sizes, dtype=np.int64).reshape(-1, 2)
    encoded = [name.encode(errors=_SURROGATES) for name in names]
    return AnnotationIndex(
        image_ids=integers(image_ids),
        heights=np.ascontiguousarray(heights_widths[:, 0]),
        widths=np.ascontiguousarray(heights_widths[:, 1]),
        names=np.frombuffer(b"".join(encoded), dtype=np.uint8),
        name_ends=_ends(encoded),
        first=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)]),
        annotation_ids=integers(annotation_ids),
        category_ids=integers(category_ids),
        boxes_xywh=np.array(boxes_xywh, dtype=np.float64).reshape(-1, 4),
        areas=np.array(areas, dtype=np.float64),
        crowds=np.array(crowds, dtype=bool),
        segmentations=np.frombuffer(b"".join(segmentations), dtype=np.uint8),
        segmentation_ends=_ends(segmentations),
    )


def integers(values: Sequence[int]) -> Shaped[np.ndarray, " values"]:
    """The values as int64, or as objects where one of them needs more bits: ids may be any."""
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        return np.array(values, dtype=object)


def _ends(pieces: Sequence[bytes | msgspec.Raw]) -> Int64[np.ndarray, " pieces"]:
    lengths = [memoryview(piece).nbytes for piece in pieces]
    return np.cumsum(np.array(lengths, dtype=np.int64))


def _piece(
    text: UInt8[np.ndarray, " bytes"], ends: Int64[np.ndarray, " pieces"], row: int
) -> bytes:
    start = ends[row - 1] if row else 0
    return text[start : ends[row]].tobytes()


def _segmentation(text: bytes) -> Segmentation:
    try:
        found: Segmentation = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        # Read the slow way, and not JSON to everybody: halves of characters, NaN in a key of the
        # user's own.
        found = json.loads(text)
    return found


def _are_equal(one: Sequence[Any], other: object) -> bool:
    if not isinstance(other, Sequence) or len(one) != len(other):
        return False
    return all(a == b for a, b in zip(one, other, strict=True))


# The folder that an index was written to for other processes; it goes when the index does.
_folders: weakref.WeakKeyDictionary[AnnotationIndex, Path] = weakref.WeakKeyDictionary()


def _write_columns(index: AnnotationIndex) -> Path:
    """A folder with a file for each column, written once however many processes are started."""
    if index not in _folders:
        folder = Path(tempfile.mkdtemp(prefix="solq-annotations-"))
        weakref.finalize(index, _remove, folder, os.getpid())
        for name, column in _columns(index).items():
            if not column.dtype.hasobject:
                np.save(folder / name, column)
        _folders[index] = folder
    return _folders[index]


def _remove(folder: Path, owner: int) -> None:
    # A forked process has a copy of the index, whose end is not that of the folder.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _map_columns(folder: Path, objects: dict[str, Any]) -> AnnotationIndex:
    """The index with its columns in memory that all processes share, and are read when used."""
    names = [field.name for field in fields(AnnotationIndex) if field.name not in objects]
    mapped = {name: _mapped(folder / f"{name}.npy") for name in names}
    return AnnotationIndex(**mapped, **objects)


def _mapped(path: Path) -> Shaped[np.ndarray, ...]:
    # As a plain array: each item of a memmap is an object with a file behind it.
    return np.asarray(np.load(path, mmap_mode="r"))


def _columns(index: AnnotationIndex) -> dict[str, Shaped[np.ndarray, ...]]:
    return {field.name: getattr(index, field.name) for field in fields(index)}
