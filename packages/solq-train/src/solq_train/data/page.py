"""Reports of a check → one self-contained page: numbers, ceilings, and examples drawn."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from PIL import Image

from solq_model.atomic import atomic_file
from solq_train.data.coco import CocoAnnotation, CocoFile, CocoImage
from solq_train.data.defects import Defect
from solq_train.data.drawing import Legend, draw_ground_truth
from solq_train.data.images import try_load_image
from solq_train.data.report import DataReport

_LARGEST_SIDE = 440  # pixels of an embedded picture
_ZOOM = 3  # an example shows this many times the sides of its objects
_LEAST_VIEW = 160  # pixels around a small object


@dataclass(frozen=True, kw_only=True)
class _Example:
    """One defect in words, and a picture of it where there is one."""

    message: str
    picture: str | None  # as a data URI


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """All that the page shows of one kind of defect in one split."""

    key: str
    title: str
    severity: str
    in_training: str
    count: int
    examples: list[_Example]


@dataclass(frozen=True, kw_only=True)
class _Section:
    """One split."""

    report: DataReport
    kinds: list[_Kind]


def write_page(path: Path, reports: Sequence[DataReport], *, title: str) -> None:
    """Writes the page, whole or not at all; needs no network to be read."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    source = (files(__package__) / "page.html.j2").read_text(encoding="utf-8")
    sections = [_section(report) for report in reports]
    kinds = {kind.key: kind.title for section in sections for kind in section.kinds}
    page = environment.from_string(source).render(title=title, sections=sections, kinds=kinds)
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _section(report: DataReport) -> _Section:
    kinds = [
        _Kind(
            key=found.kind.name,
            title=found.kind.title,
            severity=found.kind.severity,
            in_training=found.kind.in_training,
            count=found.count,
            examples=[
                _Example(
                    message=defect.message, picture=_picture(defect, report.coco, report.images)
                )
                for defect in found.examples
            ],
        )
        for found in report.defects
    ]
    return _Section(report=report, kinds=kinds)


def _picture(defect: Defect, coco: CocoFile | None, folder: Path) -> str | None:
    """The image of a defect with the objects that it is about; None where it cannot be shown."""
    if coco is None or defect.image_id is None:
        return None
    image = next((image for image in coco.images if image.id == defect.image_id), None)
    if image is None:
        return None
    picture, fault = try_load_image(folder, image)
    if picture is None:
        return None
    chosen = [item for item in image.annotations if item.id in defect.annotation_ids]
    if chosen and fault is None:
        legend = Legend.of(coco)
        drawn = draw_ground_truth(picture, image, legend, only=defect.annotation_ids)
        picture = drawn.crop(_view(chosen, image, drawn.width / picture.width))
    return _data_uri(picture)


def _view(
    items: Sequence[CocoAnnotation], image: CocoImage, scale: float
) -> tuple[int, int, int, int]:
    """The part of a picture, enlarged by a scale, that lies around these objects."""
    lefts, tops, widths, heights = zip(*(item.bbox_xywh for item in items), strict=True)
    x0, x1 = min(lefts), max(x + w for x, w in zip(lefts, widths, strict=True))
    y0, y1 = min(tops), max(y + h for y, h in zip(tops, heights, strict=True))
    half = max(_ZOOM * max(x1 - x0, y1 - y0), _LEAST_VIEW) / 2
    x, y = min(max((x0 + x1) / 2, 0), image.width), min(max((y0 + y1) / 2, 0), image.height)
    view = (
        max(x - half, 0),
        max(y - half, 0),
        min(x + half, image.width),
        min(y + half, image.height),
    )
    left, top, right, bottom = (round(value * scale) for value in view)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _data_uri(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
