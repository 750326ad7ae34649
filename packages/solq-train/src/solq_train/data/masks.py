"""Masks as a file has them + the way to the transformed image → masks, one object at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32
from numpy.typing import NDArray
from torch import Tensor

from solq_maskcodec import crop_masks, masks_to_rle
from solq_train.data.defects import DataError
from solq_train.data.segmentations import Segmentation, segmentation_mask

# ROIAlign reads between pixels: up to one beyond a box, and its neighbour.
_MARGIN = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class InstanceMasks:
    """The masks of an image's objects, none of which is decoded before it is asked for.

    Flips, resizes to the nearest pixel and crops move whole rows and columns, so that any chain of
    them comes to one list of rows and one of columns of the source: pixel (i, j) is the source's
    (rows[i], columns[j]), or (columns[j], rows[i]) where an odd number of transpositions was done.
    """

    where: str  # file and image that they come from, for messages
    ids: tuple[int, ...]  # of the annotations, for messages
    segmentations: tuple[Segmentation, ...]
    source_size: tuple[int, int]
    rows: Int32[np.ndarray, " height"]
    columns: Int32[np.ndarray, " width"]
    is_transposed: bool = False

    @staticmethod
    def of(
        ids: Sequence[int],
        segmentations: Sequence[Segmentation],
        image_size: tuple[int, int],
        where: str = "",
    ) -> InstanceMasks:
        """The masks of an image as it is in the file."""
        height, width = image_size
        return InstanceMasks(
            where=where,
            ids=tuple(ids),
            segmentations=tuple(segmentations),
            source_size=image_size,
            rows=np.arange(height, dtype=np.int32),
            columns=np.arange(width, dtype=np.int32),
        )

    @staticmethod
    def of_pixels(masks: Bool[np.ndarray, "instances height width"]) -> InstanceMasks:
        """Masks that are at hand as pixels."""
        height, width = masks.shape[1:]
        return InstanceMasks.of(range(len(masks)), masks_to_rle(masks), (height, width))

    def __len__(self) -> int:
        return len(self.segmentations)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) after all transforms."""
        return len(self.rows), len(self.columns)

    def flipped_horizontally(self) -> InstanceMasks:
        """With left and right exchanged."""
        return replace(self, columns=self.columns[::-1])

    def flipped_vertically(self) -> InstanceMasks:
        """With top and bottom exchanged."""
        return replace(self, rows=self.rows[::-1])

    def transposed(self) -> InstanceMasks:
        """With rows as columns."""
        return replace(
            self, rows=self.columns, columns=self.rows, is_transposed=not self.is_transposed
        )

    def resized(self, size: tuple[int, int]) -> InstanceMasks:
        """At this (height, width), each pixel the nearest one of before."""
        return replace(
            self,
            rows=self.rows[nearest_pixels(len(self.rows), size[0])],
            columns=self.columns[nearest_pixels(len(self.columns), size[1])],
        )

    def cut(self, top: int, left: int, height: int, width: int) -> InstanceMasks:
        """What a region of the image holds."""
        return replace(
            self,
            rows=self.rows[top : top + height],
            columns=self.columns[left : left + width],
        )

    def selected(self, kept: Sequence[bool]) -> InstanceMasks:
        """The masks of some objects."""
        chosen = [index for index, keep in enumerate(kept) if keep]
        return replace(
            self,
            ids=tuple(self.ids[index] for index in chosen),
            segmentations=tuple(self.segmentations[index] for index in chosen),
        )

    def mask(self, index: int) -> Bool[np.ndarray, "height width"]:
        """The pixels of one object."""
        height, width = self.image_size
        return self._region(index, slice(0, height), slice(0, width))

    def dense(self) -> Bool[Tensor, "instances height width"]:
        """The pixels of all objects, as much memory as they take."""
        masks = np.zeros((len(self), *self.image_size), dtype=bool)
        for index in range(len(self)):
            masks[index] = self.mask(index)
        return torch.from_numpy(masks)

    def in_boxes(
        self, boxes: Float32[Tensor, "instances 4"], size: int
    ) -> Bool[Tensor, "instances size size"]:
        """What the boxes (xyxy) hold, as `crop_masks` of the dense masks; memory of one of them."""
        found = np.zeros((len(self), size, size), dtype=bool)
        canvas = np.zeros((1, *self.image_size), dtype=bool)
        for index, box in enumerate(boxes.numpy()):
            rows, columns = _around(box, self.image_size)
            canvas[0, rows, columns] = self._region(index, rows, columns)
            found[index] = crop_masks(canvas, box[None], size)[0]
            canvas[0, rows, columns] = False
        return torch.from_numpy(found)

    def _region(self, index: int, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """A part of one object's mask: no more of it is moved to the transformed image."""
        try:
            source = segmentation_mask(self.segmentations[index], self.source_size)
        except ValueError as error:
            msg = f"{self.where}annotation id {self.ids[index]}: {error}"
            raise DataError(msg) from error
        if self.is_transposed:
            return _gather(source, self.columns[columns], self.rows[rows]).T
        return _gather(source, self.rows[rows], self.columns[columns])


def nearest_pixels(before: int, after: int) -> Int32[np.ndarray, " after"]:
    """The pixel that each comes from when a side is resized, as `F.interpolate(mode="nearest")`."""
    # In its float32 (aten UpSample.h, nearest_neighbor_compute_source_index): rounding decides.
    scale = np.float32(before) / np.float32(after)
    pixels = np.floor(np.arange(after, dtype=np.float32) * scale).astype(np.int32)
    return np.minimum(pixels, np.int32(before - 1))


def _around(box: NDArray[np.float32], image_size: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns that a crop to a box can read."""
    x0, y0, x1, y1 = box.tolist()
    height, width = image_size
    return _span(y0, y1, height), _span(x0, x1, width)


def _span(start: float, stop: float, extent: int) -> slice:
    first = min(max(int(start) - _MARGIN, 0), extent)
    return slice(first, max(first, min(int(stop) + 1 + _MARGIN, extent)))


def _gather(
    source: NDArray[np.bool_], rows: NDArray[np.int32], columns: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """source[rows][:, columns]; the columns between the first and the last only are copied."""
    if len(rows) == 0 or len(columns) == 0:
        return np.zeros((len(rows), len(columns)), dtype=bool)
    left = columns.min()
    strip = source[:, left : columns.max() + 1]
    return strip.take(rows, axis=0).take(columns - left, axis=1)
