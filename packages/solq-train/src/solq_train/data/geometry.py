"""Records of an annotation file → numbers on all objects at once: boxes, extents and areas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Bool, Float64, Int64

from solq_maskcodec.image.rle import box_of_counts, counts_of_rle
from solq_train.data.coco import CocoAnnotation, CocoFile, CocoImage


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """Where the annotations of a file lie; entry i of each array is that of `items[i]`.

    Boxes and extents are (x0, y0, x1, y1) in pixels. The extent is the smallest box around a
    segmentation, its area the sum over polygons or the count of pixels; NaN where it is broken.
    """

    items: list[CocoAnnotation]
    images: list[CocoImage]  # of each annotation
    image_indices: Int64[np.ndarray, " annotations"]  # of these in the file
    image_corners: Float64[np.ndarray, "annotations 4"]  # (0, 0, width, height)
    boxes: Float64[np.ndarray, "annotations 4"]
    extents: Float64[np.ndarray, "annotations 4"]
    areas: Float64[np.ndarray, " annotations"]
    has_flat_polygon: Bool[np.ndarray, " annotations"]
    broken: dict[int, str]  # index → what is wrong with the run lengths

    @property
    def is_crowd(self) -> Bool[np.ndarray, " annotations"]:
        """Which of the annotations are crowd regions."""
        return np.array([item.is_crowd for item in self.items], dtype=bool)

    def clipped(
        self, boxes: Float64[np.ndarray, "annotations 4"]
    ) -> Float64[np.ndarray, "annotations 4"]:
        """The boxes as far as they lie in their images."""
        lowest, highest = np.zeros((len(boxes), 2)), self.image_corners[:, 2:]
        return np.clip(boxes, np.tile(lowest, 2), np.tile(highest, 2))


def measure(coco: CocoFile) -> Geometry:
    """The numbers of all annotations, computed for the whole file together."""
    pairs = [(image, item) for image in coco.images for item in image.annotations]
    items, images = [item for _, item in pairs], [image for image, _ in pairs]
    counts = [len(image.annotations) for image in coco.images]
    boxes = _floats([item.bbox_xywh for item in items])
    with np.errstate(over="ignore"):  # a box may end beyond the largest number, outside anyway
        boxes[:, 2:] += boxes[:, :2]
    corners = _floats([(0, 0, image.width, image.height) for image in images])
    extents, areas = np.full((len(items), 4), np.nan), np.full(len(items), np.nan)
    is_polygon = np.array([isinstance(item.segmentation, list) for item in items], dtype=bool)
    has_flat = np.zeros(len(items), dtype=bool)
    chosen = [item.segmentation for item in items if isinstance(item.segmentation, list)]
    if chosen:
        extents[is_polygon], areas[is_polygon], has_flat[is_polygon] = _measure_polygons(chosen)
    broken: dict[int, str] = {}
    for index in np.flatnonzero(~is_polygon).tolist():
        try:
            extents[index], areas[index] = _measure_runs(items[index], images[index])
        except ValueError as error:
            broken[index] = str(error)
    return Geometry(
        items=items,
        images=images,
        image_indices=np.repeat(np.arange(len(coco.images)), counts),
        image_corners=corners,
        boxes=boxes,
        extents=extents,
        areas=areas,
        has_flat_polygon=has_flat,
        broken=broken,
    )


def _floats(rows: Sequence[Sequence[float]]) -> Float64[np.ndarray, "rows 4"]:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _measure_polygons(
    segmentations: Sequence[list[list[float]]],
) -> tuple[
    Float64[np.ndarray, "segmentations 4"],
    Float64[np.ndarray, " segmentations"],
    Bool[np.ndarray, " segmentations"],
]:
    """Extents, areas (shoelace formula), and whether a part of it has none."""
    parts = list(chain.from_iterable(segmentations))
    points = np.fromiter(chain.from_iterable(parts), dtype=np.float64).reshape(-1, 2)
    first = _starts(np.array([len(part) // 2 for part in parts]))
    part_of = _starts(np.array([len(segmentation) for segmentation in segmentations]))
    extents = np.concatenate(
        [
            np.minimum.reduceat(np.minimum.reduceat(points, first), part_of),
            np.maximum.reduceat(np.maximum.reduceat(points, first), part_of),
        ],
        axis=1,
    )
    following = np.arange(1, len(points) + 1)
    following[np.append(first[1:], len(points)) - 1] = first
    x, y = points.T
    part_areas = np.abs(np.add.reduceat(x * y[following] - x[following] * y, first)) / 2
    # A thousandth of a pixel: what is left of a line when decimal fractions are rounded.
    flat = np.logical_or.reduceat(part_areas < 1e-3, part_of)
    return extents, np.add.reduceat(part_areas, part_of), flat


def _starts(lengths: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
    return np.cumsum(lengths) - lengths


def _measure_runs(
    item: CocoAnnotation, image: CocoImage
) -> tuple[tuple[int, int, int, int], float]:
    assert isinstance(item.segmentation, dict), "polygons are measured together"
    counts = counts_of_rle(item.segmentation, 0, (image.height, image.width))
    return box_of_counts(counts, image.height), float(counts[1::2].sum())
