"""Sound records → what contradicts itself: boxes, masks, areas, doubles; no image is opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from posixpath import normpath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pycocotools import mask as coco_mask

from solq_maskcodec import polygons_to_rle
from solq_train.data.coco import CocoAnnotation, CocoFile, CocoImage
from solq_train.data.defects import Defect, DefectKind, shown
from solq_train.data.geometry import Geometry, measure

# Annotators' boxes are rounded, so a part of a pixel outside is no defect.
_BOX_TOLERANCE = 1.0
# Boxes in whole pixels differ from polygons by up to one, boxes drawn by hand by a little more.
_MISMATCH_PIXELS, _MISMATCH_SHARE = 2.0, 0.05
_AREA_SHARE = 0.1
_SAME_IOU = 0.95
_NEIGHBOURS = 32  # objects of similar area that one is compared with, at most


def consistency_defects(coco: CocoFile) -> tuple[list[Defect], frozenset[int]]:
    """All contradictions of a file, and the ids of annotations whose run lengths are broken."""
    geometry = measure(coco)
    defects = [*_file_name_defects(coco), *_category_defects(coco)]
    for index, what in geometry.broken.items():
        defects.append(_defect(DefectKind.RLE_CORRUPT, geometry, index, what))
    if geometry.items:
        defects += _box_defects(geometry)
        defects += _mask_defects(geometry)
        defects += _near_duplicates(geometry)
    for image in coco.images:
        if not image.annotations:
            what = "no annotation points to it"
            defects.append(Defect(DefectKind.NO_ANNOTATIONS, image_name(image), what, image.id))
    return defects, frozenset(geometry.items[index].id for index in geometry.broken)


def image_name(image: CocoImage) -> str:
    """What an image is called in messages."""
    return f"image id {image.id} ('{image.file_name}')"


def object_rle(item: CocoAnnotation, image: CocoImage) -> Any:
    """Compressed run lengths of a sound annotation, as pycocotools takes them."""
    segmentation: Any = item.segmentation
    if isinstance(segmentation, list):
        return polygons_to_rle(segmentation, (image.height, image.width))
    if isinstance(segmentation["counts"], str):
        return segmentation
    return coco_mask.frPyObjects(segmentation, image.height, image.width)


def _defect(kind: DefectKind, geometry: Geometry, index: int, what: str) -> Defect:
    item = geometry.items[index]
    return Defect(kind, f"annotation id {item.id}", what, geometry.images[index].id, (item.id,))


def _file_name_defects(coco: CocoFile) -> Iterator[Defect]:
    first: dict[str, CocoImage] = {}
    for image in coco.images:
        other = first.setdefault(normpath(image.file_name), image)
        if other is not image:
            what = f"'file_name' must be its own, but {image_name(other)} has it already"
            yield Defect(DefectKind.DUPLICATE_FILE, image_name(image), what, image.id)


def _category_defects(coco: CocoFile) -> Iterator[Defect]:
    ids_by_name = defaultdict[str, list[int]](list)
    for category in coco.categories:
        ids_by_name[category["name"]].append(category["id"])
    for name, ids in ids_by_name.items():
        if len(ids) > 1:
            what = f"'name' must be its own, but ids {ids} share it"
            yield Defect(DefectKind.DUPLICATE_NAME, f"category {shown(name)}", what)


def _box_defects(geometry: Geometry) -> Iterator[Defect]:
    sides = geometry.boxes[:, 2:] - geometry.boxes[:, :2]
    is_object = ~geometry.is_crowd
    has_area = (sides > 0).all(axis=1)
    for index in np.flatnonzero(is_object & ~has_area).tolist():
        what = f"'bbox' [x, y, width, height] must have an area, got {_box(geometry, index)}"
        yield _defect(DefectKind.ZERO_AREA_BOX, geometry, index, what)
    clipped = geometry.clipped(geometry.boxes)
    is_outside = _reaches_outside(geometry, geometry.boxes)
    # In training boxes are float32.
    is_outside |= ~(clipped[:, 2:].astype(np.float32) > clipped[:, :2].astype(np.float32)).all(1)
    for index in np.flatnonzero(is_object & has_area & is_outside).tolist():
        inside = f"be inside the {_size(geometry, index)} pixels"
        what = f"'bbox' [x, y, width, height] must {inside}, got {_box(geometry, index)}"
        yield _defect(DefectKind.BOX_OUTSIDE, geometry, index, what)
    comparable = is_object & has_area & ~is_outside & (geometry.areas > 0)
    gaps = np.abs(clipped - geometry.clipped(geometry.extents)).max(axis=1)
    allowed = np.maximum(_MISMATCH_PIXELS, _MISMATCH_SHARE * sides.max(axis=1))
    for index in np.flatnonzero(comparable & (gaps > allowed)).tolist():
        # The pixels of a polygon with sharp corners have a smaller box than the corners.
        pixels = _pixel_box(geometry, index)
        if pixels is not None and np.abs(clipped[index] - pixels).max() <= allowed[index]:
            continue
        x0, y0, x1, y1 = geometry.extents[index].tolist()
        extent = [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
        what = f"'bbox' must be that of the mask, {extent}, got {_box(geometry, index)}"
        yield _defect(DefectKind.BOX_MISMATCH, geometry, index, what)


def _pixel_box(geometry: Geometry, index: int) -> Float64[np.ndarray, 4] | None:
    """The box (x0, y0, x1, y1) of the pixels that polygons draw; None if they draw none."""
    rle = object_rle(geometry.items[index], geometry.images[index])
    x, y, width, height = coco_mask.toBbox(rle).tolist()
    return np.array([x, y, x + width, y + height]) if width * height > 0 else None


def _mask_defects(geometry: Geometry) -> Iterator[Defect]:
    for index in np.flatnonzero(geometry.has_flat_polygon).tolist():
        what = "'segmentation' must have polygons with an area, got one on a line"
        yield _defect(DefectKind.FLAT_POLYGON, geometry, index, what)
    for index in np.flatnonzero(_reaches_outside(geometry, geometry.extents)).tolist():
        x0, y0, x1, y1 = (round(value, 2) for value in geometry.extents[index].tolist())
        inside = f"stay inside the {_size(geometry, index)} pixels"
        what = f"'segmentation' must {inside}, got x {x0} to {x1} and y {y0} to {y1}"
        yield _defect(DefectKind.MASK_OUTSIDE, geometry, index, what)
    for index, item in enumerate(geometry.items):
        if item.is_crowd:
            where = f"in {image_name(geometry.images[index])}"
            yield _defect(DefectKind.CROWD, geometry, index, where)
            if isinstance(item.segmentation, list):
                yield _defect(DefectKind.CROWD_POLYGON, geometry, index, where)
    yield from _area_defects(geometry)


def _area_defects(geometry: Geometry) -> Iterator[Defect]:
    areas = np.array([item.area for item in geometry.items])
    # COCO's own crowds have areas of their own making.
    candidates = ~geometry.is_crowd & _differ(areas, geometry.areas)
    for index in np.flatnonzero(candidates).tolist():
        item = geometry.items[index]
        if isinstance(item.segmentation, list):
            # Parts may overlap and edges may cross: then the pixels count, not the sum.
            rle = object_rle(item, geometry.images[index])
            pixels = float(coco_mask.area(rle))
            if not _differ(areas[index], np.array(pixels)):
                continue
        what = f"'area' must be about {geometry.areas[index]:g} as in the mask, got {item.area:g}"
        yield _defect(DefectKind.AREA_MISMATCH, geometry, index, what)


def _differ(
    recorded: Float64[np.ndarray, "*annotations"], measured: Float64[np.ndarray, "*annotations"]
) -> Bool[np.ndarray, "*annotations"]:
    """Whether areas differ by more than rounding and pixels at the border explain."""
    larger = np.maximum(recorded, measured)
    gap = np.abs(recorded - measured)
    # An outline of whole pixels adds about half of its length: 2 times the side of a square.
    return (measured > 0) & (gap > _AREA_SHARE * larger + 2 * np.sqrt(np.maximum(measured, 0)))


def _reaches_outside(
    geometry: Geometry, boxes: Float64[np.ndarray, "annotations 4"]
) -> Bool[np.ndarray, " annotations"]:
    return (np.abs(boxes - geometry.clipped(boxes)) > _BOX_TOLERANCE).any(axis=1)


def _near_duplicates(geometry: Geometry) -> Iterator[Defect]:
    """One defect for each object that another one has nearly all pixels of."""
    told: set[int] = set()
    for first, second in _same_boxes(geometry).tolist():
        if second in told:
            continue
        pair = [geometry.items[first], geometry.items[second]]
        image = geometry.images[first]
        one, other = (object_rle(item, image) for item in pair)
        overlaps: Any = coco_mask.iou([one], [other], [0])
        iou = float(overlaps[0, 0])
        if iou > _SAME_IOU:
            told.add(second)
            other_name = f"annotation id {pair[0].id}"
            what = f"must be another object than {other_name}, got masks of IoU {iou:.3f}"
            where = f"annotation id {pair[1].id}"
            ids = (pair[0].id, pair[1].id)
            yield Defect(DefectKind.NEAR_DUPLICATE, where, what, image.id, ids)


def _same_boxes(geometry: Geometry) -> Int64[np.ndarray, "pairs 2"]:
    """Pairs of objects of one image and category, of similar area and in nearly the same box.

    Two masks of a high IoU could still have boxes far apart, by a hair that only one of them has;
    such a pair is not found.
    """
    image_of = geometry.image_indices
    slots = {category_id: slot for slot, category_id in enumerate(_category_ids(geometry))}
    category_of = np.array([slots[item.category_id] for item in geometry.items])
    usable = np.flatnonzero(~geometry.is_crowd & (geometry.areas > 0))
    keys = (geometry.areas[usable], category_of[usable], image_of[usable])
    order = usable[np.lexsort(keys)]  # doubles have nearly one area, so they come close together
    sides = geometry.extents[:, 2:] - geometry.extents[:, :2]
    slack = 2 + (1 - _SAME_IOU) * sides.max(axis=1)
    pairs: list[Int64[np.ndarray, "pairs 2"]] = [np.zeros((0, 2), dtype=np.int64)]
    starts = np.arange(len(order))
    for step in range(1, _NEIGHBOURS + 1):
        starts = starts[starts + step < len(order)]
        first, second = order[starts], order[starts + step]
        is_group = (image_of[first] == image_of[second]) & (
            category_of[first] == category_of[second]
        )
        starts, first, second = starts[is_group], first[is_group], second[is_group]
        gaps = np.abs(geometry.extents[first] - geometry.extents[second]).max(axis=1)
        is_near = gaps <= slack[first]
        pairs.append(np.stack([first[is_near], second[is_near]], axis=1))
    return np.concatenate(pairs)


def _category_ids(geometry: Geometry) -> set[int]:
    return {item.category_id for item in geometry.items}


def _box(geometry: Geometry, index: int) -> list[float]:
    return list(geometry.items[index].bbox_xywh)


def _size(geometry: Geometry, index: int) -> str:
    image = geometry.images[index]
    return f"{image.width} x {image.height}"
