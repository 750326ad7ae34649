"""Picture and target moved together: the published transforms of training and evaluation.

The steps work on PIL images, because the published pixels come out of Pillow's bilinear resize.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from solq_model import preprocess
from solq_model.images import to_tensor
from solq_model.preprocess import resize_size
from solq_train.data.records import Target

# A picture and the target in its pixels → the pixels after the transform and the target in them.
# All chance comes from the generator.
Transform = Callable[[Image.Image, Target, random.Random], tuple[Tensor, Target]]


class EvalTransform:
    """The published evaluation transform: short side to 800, long side at most 1333."""

    def __init__(self, short_side: int = 800, max_size: int = 1333) -> None:
        self.short_side = _positive("short_side", short_side)
        self.max_size = _positive("max_size", max_size)

    def __call__(
        self,
        picture: Image.Image,
        target: Target,
        rng: random.Random,  # noqa: ARG002 - nothing here is left to chance
    ) -> tuple[UInt8[Tensor, "3 height width"], Target]:
        """The pixels and the target in them."""
        size = resize_size(target.image_size, self.short_side, self.max_size)
        picture, target = resize(picture, target, size)
        return to_tensor(picture), target


class TrainTransform:
    """The published training transform, with flips and transposition that it does not use.

    Flips; a resize to one of the short sides; then, with probability `crop`, a resize of the short
    side to one of `crop_resize` without a limit to the long one, and a cut-out of random sides
    within `crop_size` (smaller where the picture is); at last again a resize to one of the short
    sides. That the first resize comes before the choice, so that most pictures are resized twice,
    is the published recipe too (datasets/coco.py, make_coco_transforms).
    """

    def __init__(
        self,
        *,
        short_sides: Sequence[int] = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
        max_size: int = 1333,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        transpose: float = 0.0,
        crop: float = 0.5,
        crop_resize: Sequence[int] = (400, 500, 600),
        crop_size: tuple[int, int] = (384, 600),
    ) -> None:
        self.short_sides = _sides("short_sides", short_sides)
        self.max_size = _positive("max_size", max_size)
        self.horizontal_flip = _probability("horizontal_flip", horizontal_flip)
        self.vertical_flip = _probability("vertical_flip", vertical_flip)
        self.transpose = _probability("transpose", transpose)
        self.crop = _probability("crop", crop)
        self.crop_resize = _sides("crop_resize", crop_resize)
        self.crop_size = _sides("crop_size", crop_size)
        if len(crop_size) != 2 or crop_size[0] > crop_size[1]:
            msg = f"crop_size must be (smallest, largest) side of the cut-out, got {crop_size}"
            raise ValueError(msg)

    def __call__(
        self, picture: Image.Image, target: Target, rng: random.Random
    ) -> tuple[UInt8[Tensor, "3 height width"], Target]:
        """The pixels and the target in them."""
        if rng.random() < self.horizontal_flip:
            picture, target = flip_horizontally(picture, target)
        if rng.random() < self.vertical_flip:
            picture, target = flip_vertically(picture, target)
        if rng.random() < self.transpose:
            picture, target = transpose(picture, target)
        picture, target = self._resize(picture, target, rng)
        if rng.random() < self.crop:
            size = resize_size(target.image_size, rng.choice(self.crop_resize), None)
            picture, target = resize(picture, target, size)
            picture, target = crop(picture, target, *self._crop_region(target.image_size, rng))
        picture, target = self._resize(picture, target, rng)
        return to_tensor(picture), target

    def _resize(
        self, picture: Image.Image, target: Target, rng: random.Random
    ) -> tuple[Image.Image, Target]:
        size = resize_size(target.image_size, rng.choice(self.short_sides), self.max_size)
        return resize(picture, target, size)

    def _crop_region(
        self, image_size: tuple[int, int], rng: random.Random
    ) -> tuple[int, int, int, int]:
        smallest, largest = self.crop_size
        height, width = (rng.randint(min(smallest, s), min(largest, s)) for s in image_size)
        top = rng.randint(0, image_size[0] - height)
        left = rng.randint(0, image_size[1] - width)
        return top, left, height, width


def resize(
    picture: Image.Image, target: Target, size: tuple[int, int]
) -> tuple[Image.Image, Target]:
    """Both at this (height, width): pixels bilinear, masks by the nearest pixel."""
    height, width = target.image_size
    if size == (height, width):
        return picture, target
    scale_y, scale_x = size[0] / height, size[1] / width
    return preprocess.resize(picture, size), replace(
        target,
        image_size=size,
        boxes=target.boxes * torch.tensor([scale_x, scale_y, scale_x, scale_y]),
        masks=_resize_masks(target.masks, size),
    )


def flip_horizontally(picture: Image.Image, target: Target) -> tuple[Image.Image, Target]:
    """Both with left and right exchanged."""
    x0, y0, x1, y1 = target.boxes.unbind(1)
    width = target.image_size[1]
    boxes = torch.stack([width - x1, y0, width - x0, y1], dim=1)
    flipped = replace(target, boxes=boxes, masks=target.masks.flip(-1))
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), flipped


def flip_vertically(picture: Image.Image, target: Target) -> tuple[Image.Image, Target]:
    """Both with top and bottom exchanged."""
    x0, y0, x1, y1 = target.boxes.unbind(1)
    height = target.image_size[0]
    boxes = torch.stack([x0, height - y1, x1, height - y0], dim=1)
    flipped = replace(target, boxes=boxes, masks=target.masks.flip(-2))
    return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM), flipped


def transpose(picture: Image.Image, target: Target) -> tuple[Image.Image, Target]:
    """Both mirrored at the diagonal: rows become columns."""
    height, width = target.image_size
    transposed = replace(
        target,
        image_size=(width, height),
        boxes=target.boxes[:, [1, 0, 3, 2]],
        masks=target.masks.transpose(-1, -2).contiguous(),
    )
    return picture.transpose(Image.Transpose.TRANSPOSE), transposed


def crop(
    picture: Image.Image, target: Target, top: int, left: int, height: int, width: int
) -> tuple[Image.Image, Target]:
    """Both cut to a region; objects whose box keeps no area there are dropped.

    As published it is the box that decides: a box that reaches into the region by a corner stays,
    even where no pixel of its mask does.
    """
    offset = torch.tensor([left, top, left, top])
    limit = torch.tensor([width, height, width, height])
    boxes = torch.minimum((target.boxes - offset), limit).clamp(min=0)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    cut = replace(
        target,
        image_size=(height, width),
        boxes=boxes[kept],
        labels=target.labels[kept],
        masks=target.masks[kept, top : top + height, left : left + width],
    )
    return picture.crop((left, top, left + width, top + height)), cut


def _resize_masks(
    masks: Bool[Tensor, "instances height width"], size: tuple[int, int]
) -> Bool[Tensor, "instances new_height new_width"]:
    return F.interpolate(masks[:, None].to(torch.uint8), size=size, mode="nearest")[:, 0].bool()


def _positive(name: str, value: int) -> int:
    if value < 1:
        msg = f"{name} must be at least 1, got {value}"
        raise ValueError(msg)
    return value


def _sides(name: str, values: Sequence[int]) -> tuple[int, ...]:
    if not values or min(values) < 1:
        msg = f"{name} must be at least one side of at least 1 pixel, got {tuple(values)}"
        raise ValueError(msg)
    return tuple(values)


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        msg = f"{name} must be a probability in [0, 1], got {value}"
        raise ValueError(msg)
    return value
