"""A folder of YOLO, VOC or Labelme annotations → a new data set folder in COCO layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ImageOps
from pycocotools import mask as coco_mask

from solq_train.data.coco import CocoAnnotation, CocoImage
from solq_train.data.consistency import object_rle
from solq_train.data.convert.labelme import is_labelme, read_labelme
from solq_train.data.convert.source import (
    Format,
    Source,
    SourceImage,
    inside,
    is_turned,
    opened,
    refuse,
)
from solq_train.data.convert.voc import is_voc, read_voc
from solq_train.data.convert.yolo import is_yolo, read_yolo
from solq_train.data.defects import DataError
from solq_train.data.folders import link_or_copy, new_folder
from solq_train.data.segmentations import segmentation_fault
from solq_train.data.split import split_images, write_part

_FORMATS: dict[Format, tuple[Callable[[Path], bool], Callable[[Path], Source]]] = {
    "yolo": (is_yolo, read_yolo),
    "voc": (is_voc, read_voc),
    "labelme": (is_labelme, read_labelme),
}
_EXPECTED: dict[Format, str] = {
    "yolo": "images/ beside labels/",
    "voc": "JPEGImages/, SegmentationObject/ and SegmentationClass/, or images/, instances/ and "
    "classes/",
    "labelme": "JSON files with shapes and imagePath",
}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What came of a folder."""

    format: Format
    images: dict[str, int]  # by split
    objects: dict[str, int]
    categories: int
    turned: int  # images written anew, upright
    left_out: dict[str, int]  # by what and why

    def table(self) -> list[list[str]]:
        """What was found and what was left out, under titles."""
        rows = [["found", "number"]]
        for split, number in self.images.items():
            rows.append([f"{split} images", str(number)])
            rows.append([f"{split} objects", str(self.objects[split])])
        rows.append(["categories", str(self.categories)])
        if self.turned:
            rows.append(["images turned upright, as their EXIF data ask", str(self.turned)])
        rows += [[f"left out: {what}", str(number)] for what, number in self.left_out.items()]
        return rows


def detect_format(root: Path) -> Format:
    """The format of a folder; DataError unless it is exactly one."""
    if not root.is_dir():
        msg = f"{root}: no such folder"
        raise DataError(msg)
    found = [name for name, (is_it, _) in _FORMATS.items() if is_it(root)]
    if len(found) == 1:
        return found[0]
    expected = "; ".join(f"{name}: {what}" for name, what in _EXPECTED.items())
    msg = f"{root}: expected one of the known formats ({expected}), found {found or 'none'}"
    raise DataError(msg)


def convert(
    root: Path,
    output: Path,
    source_format: Format | None = None,
    *,
    val: float = 0.2,
    seed: int = 0,
) -> Conversion:
    """Makes `output` out of a folder, whole or not at all; the format is detected if not given.

    A folder without splits, or with training images alone, is divided as `split_images` does it.
    Images are hard links where these work; those with a turn in their EXIF data are written anew,
    because annotations belong to the turned picture.
    """
    source_format = source_format or detect_format(root)
    is_it, read = _FORMATS[source_format]
    if not root.is_dir() or not is_it(root):
        msg = f"{root}: expected {_EXPECTED[source_format]}, found no such thing"
        raise DataError(msg)
    source = read(root)
    for images in source.images.values():
        for image in images:
            if not inside(root, image.path):
                refuse(image.path, f"must lie inside {root}, got a link out of it")
    documents, paths = _documents(source, val, seed)
    with new_folder(output) as folder:
        turned = 0
        for split, document in documents.items():
            write_part(folder, split, document)
            for entry in document["images"]:
                target = folder / split / entry["file_name"]
                turned += _place(paths[entry["id"]], target)
    return Conversion(
        format=source_format,
        images={split: len(document["images"]) for split, document in documents.items()},
        objects={split: len(document["annotations"]) for split, document in documents.items()},
        categories=len(source.category_ids),
        turned=turned,
        left_out={what: number for what, number in source.left_out.items() if number},
    )


def _documents(
    source: Source, val: float, seed: int
) -> tuple[dict[str, dict[str, Any]], dict[int, Path]]:
    """The COCO document of each split, and the image files by id."""
    paths: dict[int, Path] = {}
    by_split: dict[str, list[CocoImage]] = {"train": [], "val": []}
    undivided: list[CocoImage] = []
    num_annotations = 0
    for split, images in sorted(source.images.items()):
        for image in sorted(images, key=lambda image: image.name):
            record = _record(image, len(paths) + 1, num_annotations + 1, source)
            paths[record.id] = image.path
            num_annotations += len(record.annotations)
            (by_split[split] if split else undivided).append(record)
    if not paths:
        msg = "expected at least one annotated image, found none"
        raise DataError(msg)
    if not by_split["val"]:
        undivided, by_split["train"] = by_split["train"] + undivided, []
    if not by_split["val"]:
        parts = split_images(undivided, val, seed)
        for split, ids in parts.items():
            by_split[split] = [record for record in undivided if record.id in ids]
    else:
        by_split["train"] += undivided
    categories = [{"id": number, "name": name} for name, number in source.category_ids.items()]
    return {split: _document(records, categories) for split, records in by_split.items()}, paths


def _record(image: SourceImage, image_id: int, first_id: int, source: Source) -> CocoImage:
    """The image with its objects, which get the ids from `first_id` on."""
    height, width = image.size
    bare = CocoImage(id=image_id, file_name=image.name, height=height, width=width, annotations=())
    annotations: list[CocoAnnotation] = []
    for item in image.objects:
        fault = segmentation_fault(item.segmentation, image.size)
        if fault is not None:
            refuse(image.path, f"an object cannot be converted: {fault[1]}")
        empty = CocoAnnotation(
            id=first_id + len(annotations),
            category_id=source.category_ids[item.category],
            bbox_xywh=(0.0, 0.0, 0.0, 0.0),
            segmentation=item.segmentation,
            area=0.0,
            is_crowd=False,
        )
        rle = object_rle(empty, bare)
        x, y, box_width, box_height = coco_mask.toBbox(rle).tolist()
        if box_width * box_height == 0:
            source.left_out["object without a pixel"] += 1
            continue
        annotations.append(
            CocoAnnotation(
                id=empty.id,
                category_id=empty.category_id,
                bbox_xywh=(x, y, box_width, box_height),
                segmentation=item.segmentation,
                area=float(coco_mask.area(rle)),
                is_crowd=False,
            )
        )
    return CocoImage(
        id=image_id,
        file_name=image.name,
        height=height,
        width=width,
        annotations=tuple(annotations),
    )


def _document(records: Sequence[CocoImage], categories: Sequence[dict[str, Any]]) -> dict[str, Any]:
    images = [
        {"id": r.id, "file_name": r.file_name, "height": r.height, "width": r.width}
        for r in records
    ]
    annotations = [
        {
            "id": item.id,
            "image_id": record.id,
            "category_id": item.category_id,
            "bbox": list(item.bbox_xywh),
            "area": item.area,
            "iscrowd": 0,
            "segmentation": item.segmentation,
        }
        for record in records
        for item in record.annotations
    ]
    return {"images": images, "annotations": annotations, "categories": list(categories)}


def _place(source: Path, target: Path) -> bool:
    """Puts an image in its place; whether it had to be turned for that."""
    if target.exists():
        refuse(source, "must have a name of its own in its split, got one that is taken")
    if not is_turned(source):
        link_or_copy(source, target)
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened(source) as picture:
        ImageOps.exif_transpose(picture).save(target, format=picture.format, quality=95)
    return True
