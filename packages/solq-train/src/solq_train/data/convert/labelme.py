"""Labelme: a JSON file an image, with shapes by their corners."""

from __future__ import annotations

import base64
import io
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image
from pycocotools import mask as coco_mask

from solq_maskcodec import masks_to_rle, polygons_to_rle
from solq_train.data.convert.source import (
    Source,
    SourceImage,
    SourceObject,
    inside,
    polygon,
    read_text,
    refuse,
    upright_size,
)
from solq_train.data.defects import shown
from solq_train.data.entries import leads_outside
from solq_train.data.images import DECODE_ERRORS
from solq_train.data.segmentations import Segmentation, is_finite_number

_CIRCLE_CORNERS = 72
_NO_OBJECTS = {"__ignore__": "ignored region", "_background_": "background"}
_WITHOUT_AREA = ("point", "points", "line", "linestrip")
_KINDS = ("polygon", "rectangle", "circle", "mask", *_WITHOUT_AREA)
Shape = tuple[list[list[float]], Segmentation | None]  # polygons, or a mask's run lengths


def is_labelme(root: Path) -> bool:
    """Whether any JSON file below the folder has Labelme's keys."""
    return any(_is_labelme_file(path) for path in sorted(root.rglob("*.json"))[:20])


def read_labelme(root: Path) -> Source:
    """All images with their polygons, rectangles, circles and masks.

    Shapes of one label and one `group_id` are parts of one object. Categories are numbered from 1
    by name.
    """
    documents = [
        (path, _document(path)) for path in sorted(root.rglob("*.json")) if _is_labelme_file(path)
    ]
    names = {
        str(shape.get("label"))
        for _, document in documents
        for shape in document["shapes"]
        if isinstance(shape, dict)
    }
    labels = sorted(names - _NO_OBJECTS.keys())
    source = Source(category_ids={name: number for number, name in enumerate(labels, start=1)})
    taken: set[Path] = set()
    for path, document in documents:
        image = _image_path(root, path, document)
        if not image.is_file():
            source.left_out["annotated image file that is missing"] += 1
        elif image.resolve() in taken:
            refuse(path, f"is the second file for the image {image.name}")
        else:
            taken.add(image.resolve())
            source.add("", _image(root, path, document, image, source))
    return source


def _is_labelme_file(path: Path) -> bool:
    # The keys stand in the file's text; images inside of it can be megabytes.
    text = path.read_bytes()
    return b'"shapes"' in text and b'"imagePath"' in text


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        refuse(path, f"must be JSON, but: {error.msg}", error.lineno)
    except RecursionError:
        refuse(path, "must be JSON of Labelme, but is nested too deep")
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        refuse(path, "must be an object with a list of shapes, as Labelme writes it")
    return document


def _image_path(root: Path, path: Path, document: dict[str, Any]) -> Path:
    """The image of a file, which must lie in the folder, whatever the file says."""
    name = document.get("imagePath")
    if not isinstance(name, str) or not name or "\0" in name:
        refuse(path, f"'imagePath' must be the name of a file, got {shown(name)}")
    name = name.replace("\\", "/")
    image = path.parent / name
    # "../images/a.jpg" is usual, and fine as long as it stays in the folder.
    if leads_outside(name.replace("../", "")) or not inside(root, image):
        refuse(path, f"'imagePath' must lie inside {root}, got {shown(name)}")
    return image


def _image(
    root: Path, path: Path, document: dict[str, Any], image: Path, source: Source
) -> SourceImage:
    size = upright_size(image)
    recorded = (document.get("imageHeight"), document.get("imageWidth"))
    if recorded != (None, None) and recorded != size:
        what = f"must be the picture's height and width {size}, got {recorded}"
        refuse(path, f"'imageHeight' and 'imageWidth' {what}")
    parts: dict[tuple[str, object], list[Shape]] = defaultdict(list)
    for index, shape in enumerate(document["shapes"]):
        where = f"shapes[{index}]"
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            refuse(path, f"{where} must have a label, got {shown(shape)}")
        label, group = shape["label"], shape.get("group_id")
        if label in _NO_OBJECTS:
            source.left_out[_NO_OBJECTS[label]] += 1
            continue
        kind = shape.get("shape_type", "polygon")
        part = _shape(path, where, kind, shape, size)
        if part is None:
            source.left_out[f"shape without an area ({kind})"] += 1
        else:
            key = index if group is None else f"group {group}"
            parts[label, key].append(part)
    return SourceImage(
        path=image,
        name=image.resolve().relative_to(root.resolve()).as_posix(),
        size=size,
        objects=tuple(
            SourceObject(category=label, segmentation=_joined(shapes, size))
            for (label, _), shapes in parts.items()
        ),
    )


def _shape(
    path: Path, where: str, kind: object, shape: dict[str, Any], size: tuple[int, int]
) -> Shape | None:
    """The polygons of a shape, or its run lengths; None for points and lines."""
    points = shape.get("points")
    if not isinstance(points, list) or not all(_is_point(point) for point in points):
        refuse(path, f"{where}.points must be a list of finite [x, y], got {shown(points)}")
    if kind not in _KINDS:
        refuse(path, f"{where}.shape_type must be one of Labelme's, got {shown(kind)}")
    if kind in _WITHOUT_AREA:
        return None
    if kind == "polygon":
        if len(points) < 3:
            refuse(path, f"{where} must have at least 3 points, got {len(points)}")
        return [polygon(points)], None
    if len(points) != 2:
        refuse(path, f"{where} is a {kind} and must have 2 points, got {len(points)}")
    (x0, y0), (x1, y1) = points
    if kind == "circle":
        return [polygon(_circle(x0, y0, math.hypot(x1 - x0, y1 - y0)))], None
    if kind == "rectangle":
        return [polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])], None
    corner = (round(min(x0, x1)), round(min(y0, y1)))
    return [], masks_to_rle(_mask(path, where, shape.get("mask"), corner, size)[None])[0]


def _is_point(point: object) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(map(is_finite_number, point))


def _circle(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    angles = [2 * math.pi * step / _CIRCLE_CORNERS for step in range(_CIRCLE_CORNERS)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def _mask(
    path: Path, where: str, data: object, corner: tuple[int, int], size: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """A mask in the image, from the PNG of its box."""
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(str(data), validate=True)))
        small = np.asarray(picture.convert("L")) > 0
    except DECODE_ERRORS as error:  # broken base64 is a ValueError
        refuse(path, f"{where}.mask must be a PNG in base64, but: {error}")
    mask = np.zeros(size, dtype=bool)
    left, top = max(corner[0], 0), max(corner[1], 0)
    place = mask[top : corner[1] + small.shape[0], left : corner[0] + small.shape[1]]
    rows, columns = top - corner[1], left - corner[0]
    place[:] = small[rows : rows + place.shape[0], columns : columns + place.shape[1]]
    return mask


def _joined(shapes: list[Shape], size: tuple[int, int]) -> Segmentation:
    """One segmentation of all parts: polygons where there are only such, else run lengths."""
    polygons = [points for part, _ in shapes for points in part]
    rles: list[Any] = [rle for _, rle in shapes if rle is not None]
    if not rles:
        return polygons
    if polygons:
        rles.append(polygons_to_rle(polygons, size))
    merged: Any = coco_mask.merge(rles)
    return {"size": list(size), "counts": merged["counts"].decode("ascii")}
