"""Data set → report: every defect at once, and what is in the data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from solq_train.data.coco import CocoAnnotation, CocoFile, CocoImage, parse_coco
from solq_train.data.dataset import clipped_boxes, has_area
from solq_train.data.defects import Defect, DefectKind
from solq_train.data.images import try_load_image
from solq_train.data.report import CategoryCount, DataReport, DataSummary, DefectCount
from solq_train.data.segmentations import segmentation_mask

Progress = Callable[[int, int], None]  # images done, images in all

# Annotators' boxes are rounded, so a part of a pixel outside is no defect.
_BOX_TOLERANCE = 1.0
_NUM_EXAMPLES = 3


class _Tally:
    """Counts defects by kind and keeps the words of the first ones."""

    def __init__(self) -> None:
        self._found: dict[DefectKind, DefectCount] = {}

    def add(self, defect: Defect) -> None:
        found = self._found.setdefault(defect.kind, DefectCount(kind=defect.kind))
        found.count += 1
        if len(found.examples) < _NUM_EXAMPLES:
            found.examples.append(defect.message)

    def by_kind(self) -> tuple[DefectCount, ...]:
        """In the order of `DefectKind`, which is from grave to harmless."""
        return tuple(self._found[kind] for kind in DefectKind if kind in self._found)


def check_coco(annotations: Path, images: Path, progress: Progress | None = None) -> DataReport:
    """Everything wrong with a data set; every image is decoded and every mask drawn."""
    tally = _Tally()
    coco = parse_coco(annotations, tally.add)
    if coco is None:
        summary = None
    else:
        for defect in _image_defects(coco, images, progress):
            tally.add(defect)
        summary = _summarize(coco)
        for category in summary.categories:
            if category.num_instances == 0:
                where = f"category id {category.id} ('{category.name}')"
                tally.add(Defect(DefectKind.UNUSED_CATEGORY, where, "no annotation names it"))
    return DataReport(
        annotations=annotations, images=images, defects=tally.by_kind(), summary=summary
    )


def _image_defects(coco: CocoFile, images: Path, progress: Progress | None) -> Iterator[Defect]:
    # Threads, because decoding an image does not hold the interpreter.
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda image: _defects_of(image, images), coco.images)
        for done, defects in enumerate(found, start=1):
            yield from defects
            if progress is not None:
                progress(done, len(coco.images))


def _defects_of(image: CocoImage, images: Path) -> list[Defect]:
    where = f"image id {image.id} ('{image.file_name}')"
    _, fault = try_load_image(images, image)
    defects = [Defect(fault[0], where, fault[1])] if fault is not None else []
    if not image.annotations:
        defects.append(Defect(DefectKind.NO_ANNOTATIONS, where, "no annotation points to it"))
    objects = [item for item in image.annotations if not item.is_crowd]
    defects += _box_defects(objects, (image.height, image.width))
    for item in image.annotations:
        # The size in the record of an image that cannot be read may be anything, even gigapixels.
        if fault is None:
            defects += _mask_defects(item, (image.height, image.width))
        if item.is_crowd:
            defects.append(Defect(DefectKind.CROWD, _name(item), f"in {where}"))
    return defects


def _mask_defects(item: CocoAnnotation, image_size: tuple[int, int]) -> Iterator[Defect]:
    try:
        mask = segmentation_mask(item.segmentation, image_size)
    except ValueError as error:
        yield Defect(DefectKind.RLE_CORRUPT, _name(item), str(error))
    else:
        if not mask.any():
            what = "'segmentation' must cover at least one pixel, got none"
            yield Defect(DefectKind.EMPTY_MASK, _name(item), what)


def _box_defects(
    objects: Sequence[CocoAnnotation], image_size: tuple[int, int]
) -> Iterator[Defect]:
    usable = has_area(clipped_boxes(objects, image_size)).tolist()
    for item, is_usable in zip(objects, usable, strict=True):
        x, y, width, height = item.bbox_xywh
        overhang = max(-x, -y, x + width - image_size[1], y + height - image_size[0])
        got = f"got {list(item.bbox_xywh)}"
        if width <= 0 or height <= 0:
            what = f"'bbox' [x, y, width, height] must have an area, {got}"
            yield Defect(DefectKind.ZERO_AREA_BOX, _name(item), what)
        elif overhang > _BOX_TOLERANCE or not is_usable:
            size = f"{image_size[1]} x {image_size[0]}"
            what = f"'bbox' [x, y, width, height] must be inside the {size} pixels, {got}"
            yield Defect(DefectKind.BOX_OUTSIDE, _name(item), what)


def _name(annotation: CocoAnnotation) -> str:
    return f"annotation id {annotation.id}"


def _summarize(coco: CocoFile) -> DataSummary:
    items = [item for image in coco.images for item in image.annotations]
    objects = [item for item in items if not item.is_crowd]
    num_small = sum(item.area < 32**2 for item in objects)
    num_large = sum(item.area >= 96**2 for item in objects)
    by_category = Counter(item.category_id for item in objects)
    return DataSummary(
        num_images=len(coco.images),
        num_empty_images=sum(not image.annotations for image in coco.images),
        num_instances=len(objects),
        num_crowds=len(items) - len(objects),
        num_small=num_small,
        num_medium=len(objects) - num_small - num_large,
        num_large=num_large,
        categories=tuple(
            CategoryCount(
                id=category["id"],
                name=category["name"],
                num_instances=by_category[category["id"]],
            )
            for category in coco.categories
        ),
    )
