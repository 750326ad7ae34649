"""Record + picture → the picture under its ground truth; many pictures → one contact sheet."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from solq_model.categories import Categories
from solq_model.draw import draw_instances
from solq_train.data.coco import CocoFile, CocoImage, annotation_mask
from solq_train.data.dataset import clipped_boxes
from solq_train.data.images import load_image
from solq_train.data.records import Objects

_CELL, _MARGIN, _CAPTION = 360, 8, 22  # pixels


@dataclass(frozen=True, kw_only=True)
class Legend:
    """What categories are called and which colour each has, the same in all pictures."""

    names: Mapping[int, str]  # by category id
    colors: Mapping[int, int]

    @staticmethod
    def of(coco: CocoFile) -> Legend:
        """Colours by ascending id."""
        names = {category["id"]: str(category["name"]) for category in coco.categories}
        order = {category_id: index for index, category_id in enumerate(sorted(names))}
        return Legend(names=names, colors=order)


def draw_ground_truth(
    picture: Image.Image,
    image: CocoImage,
    legend: Legend,
    *,
    only: Collection[int] | None = None,
) -> Image.Image:
    """The picture under its objects, crowds too and called so; `only` narrows to annotation ids."""
    size = (image.height, image.width)
    chosen = [item for item in image.annotations if only is None or item.id in only]
    masks = torch.zeros((len(chosen), *size), dtype=torch.bool)
    for mask, item in zip(masks, chosen, strict=True):
        mask.copy_(torch.from_numpy(annotation_mask(item, size)))
    labels = [
        legend.names[item.category_id] + (" (crowd)" if item.is_crowd else "") for item in chosen
    ]
    colors = [legend.colors[item.category_id] for item in chosen]
    return draw_instances(picture, masks, clipped_boxes(chosen, size), labels, colors=colors)


def draw_record(folder: Path, image: CocoImage, legend: Legend) -> Image.Image:
    """The image of a record under its ground truth; DataError if it cannot be read."""
    return draw_ground_truth(load_image(folder, image), image, legend)


def draw_objects(
    picture: Image.Image, objects: Objects, categories: Categories, legend: Legend
) -> Image.Image:
    """A transformed picture under its objects."""
    found = [categories.category_of(slot) for slot in objects.labels.tolist()]
    ids = [category.id for category in found if category is not None]
    labels = [legend.names[category_id] for category_id in ids]
    colors = [legend.colors[category_id] for category_id in ids]
    return draw_instances(picture, objects.masks.dense(), objects.boxes, labels, colors=colors)


def contact_sheet(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """All pictures side by side in rows, each as large as its place allows, over its caption."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    step = (_CELL + _MARGIN, _CELL + _CAPTION + _MARGIN)
    sheet = Image.new("RGB", (columns * step[0] + _MARGIN, rows * step[1] + _MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(index, columns)
        left, top = column * step[0] + _MARGIN, row * step[1] + _MARGIN
        small = picture.copy()
        small.thumbnail((_CELL, _CELL), Image.Resampling.LANCZOS)
        sheet.paste(small, (left + (_CELL - small.width) // 2, top + (_CELL - small.height) // 2))
        place = (left + _CELL // 2, top + _CELL + _CAPTION // 2)
        draw.text(place, _shortened(caption, draw, font), fill="black", font=font, anchor="mm")
    return sheet


def _shortened(
    text: str, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> str:
    """The text, or as much of its end as fits under a picture: names differ at their ends."""
    short = text
    while draw.textlength(short, font=font) > _CELL and len(short) > 1:
        text = text[1:]
        short = f"…{text}"
    return short
