"""Picture and objects moved together: the published transforms, and large-scale jitter.

The steps work on PIL images, because the published pixels come out of Pillow's bilinear resize.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from PIL import Image

from solq_model import preprocess
from solq_model.preprocess import resize_size
from solq_train.data.records import Objects

# A picture and the objects in its pixels → both after the transform. All chance comes from the
# generator.
Transform = Callable[[Image.Image, Objects, random.Random], tuple[Image.Image, Objects]]


class EvalTransform:
    """The published evaluation transform: short side to 800, long side at most 1333."""

    def __init__(self, short_side: int = 800, max_size: int = 1333) -> None:
        self.short_side = _positive("short_side", short_side)
        self.max_size = _positive("max_size", max_size)

    def __call__(
        self,
        picture: Image.Image,
        objects: Objects,
        rng: random.Random,  # noqa: ARG002 - nothing here is left to chance
    ) -> tuple[Image.Image, Objects]:
        """Both after the transform."""
        size = resize_size(objects.image_size, self.short_side, self.max_size)
        return resize(picture, objects, size)


class TrainTransform:
    """The published training transform, with flips and transposition that it does not use.

    Flips; a resize to one of the short sides; then, with probability `crop`, a resize of the short
    side to one of `crop_resize` without a limit to the long one, and a cut-out of random sides
    within `crop_size` (smaller where the picture is); at last again a resize to one of the short
    sides. That the first resize comes before the choice, so that most pictures are resized twice,
    is the published recipe too (datasets/coco.py, make_coco_transforms). With a `jitter`, that is
    what follows the flips instead.
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
        jitter: LargeScaleJitter | None = None,
    ) -> None:
        self.short_sides = _sides("short_sides", short_sides)
        self.max_size = _positive("max_size", max_size)
        self.horizontal_flip = _probability("horizontal_flip", horizontal_flip)
        self.vertical_flip = _probability("vertical_flip", vertical_flip)
        self.transpose = _probability("transpose", transpose)
        self.crop = _probability("crop", crop)
        self.crop_resize = _sides("crop_resize", crop_resize)
        self.crop_size = _sides("crop_size", crop_size)
        self.jitter = jitter
        if len(crop_size) != 2 or crop_size[0] > crop_size[1]:
            msg = f"crop_size must be (smallest, largest) side of the cut-out, got {crop_size}"
            raise ValueError(msg)

    def __call__(
        self, picture: Image.Image, objects: Objects, rng: random.Random
    ) -> tuple[Image.Image, Objects]:
        """Both after the transform."""
        if rng.random() < self.horizontal_flip:
            picture, objects = flip_horizontally(picture, objects)
        if rng.random() < self.vertical_flip:
            picture, objects = flip_vertically(picture, objects)
        if rng.random() < self.transpose:
            picture, objects = transpose(picture, objects)
        if self.jitter is not None:
            return self.jitter(picture, objects, rng)
        picture, objects = self._resize(picture, objects, rng)
        if rng.random() < self.crop:
            size = resize_size(objects.image_size, rng.choice(self.crop_resize), None)
            picture, objects = resize(picture, objects, size)
            picture, objects = crop(picture, objects, *self._crop_region(objects.image_size, rng))
        return self._resize(picture, objects, rng)

    def _resize(
        self, picture: Image.Image, objects: Objects, rng: random.Random
    ) -> tuple[Image.Image, Objects]:
        size = resize_size(objects.image_size, rng.choice(self.short_sides), self.max_size)
        return resize(picture, objects, size)

    def _crop_region(
        self, image_size: tuple[int, int], rng: random.Random
    ) -> tuple[int, int, int, int]:
        smallest, largest = self.crop_size
        height, width = (rng.randint(min(smallest, s), min(largest, s)) for s in image_size)
        return *random_corner(image_size, (height, width), rng), height, width


class LargeScaleJitter:
    """A resize to a random share of a square, and a random part of what is larger than the square.

    As detectron2's ResizeScale and FixedSizeCrop with a square target, but for the padding: an
    image that is smaller stays so, since batches are padded to their largest image anyway.
    """

    def __init__(self, size: int, scale: tuple[float, float] = (0.1, 2.0)) -> None:
        self.size = _positive("jitter_size", size)
        self.scale = scale
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] < math.inf:
            msg = f"jitter_scale must be (smallest, largest) share above 0, got {scale}"
            raise ValueError(msg)

    def __call__(
        self, picture: Image.Image, objects: Objects, rng: random.Random
    ) -> tuple[Image.Image, Objects]:
        """Both after the transform."""
        longest = self.size * rng.uniform(*self.scale)
        factor = longest / max(objects.image_size)
        height, width = (max(1, round(side * factor)) for side in objects.image_size)
        picture, objects = resize(picture, objects, (height, width))
        part = min(height, self.size), min(width, self.size)
        return crop(picture, objects, *random_corner((height, width), part, rng), *part)


def random_corner(
    image_size: tuple[int, int], part: tuple[int, int], rng: random.Random
) -> tuple[int, int]:
    """Where (top, left) a part of this (height, width) lies in an image, anywhere in it."""
    top = rng.randint(0, image_size[0] - part[0])
    left = rng.randint(0, image_size[1] - part[1])
    return top, left


def resize(
    picture: Image.Image, objects: Objects, size: tuple[int, int]
) -> tuple[Image.Image, Objects]:
    """Both at this (height, width): pixels bilinear, masks by the nearest pixel."""
    height, width = objects.image_size
    if size == (height, width):
        return picture, objects
    scale_y, scale_x = size[0] / height, size[1] / width
    return preprocess.resize(picture, size), replace(
        objects,
        image_size=size,
        boxes=objects.boxes * torch.tensor([scale_x, scale_y, scale_x, scale_y]),
        masks=objects.masks.resized(size),
    )


def flip_horizontally(picture: Image.Image, objects: Objects) -> tuple[Image.Image, Objects]:
    """Both with left and right exchanged."""
    x0, y0, x1, y1 = objects.boxes.unbind(1)
    width = objects.image_size[1]
    boxes = torch.stack([width - x1, y0, width - x0, y1], dim=1)
    flipped = replace(objects, boxes=boxes, masks=objects.masks.flipped_horizontally())
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), flipped


def flip_vertically(picture: Image.Image, objects: Objects) -> tuple[Image.Image, Objects]:
    """Both with top and bottom exchanged."""
    x0, y0, x1, y1 = objects.boxes.unbind(1)
    height = objects.image_size[0]
    boxes = torch.stack([x0, height - y1, x1, height - y0], dim=1)
    flipped = replace(objects, boxes=boxes, masks=objects.masks.flipped_vertically())
    return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM), flipped


def transpose(picture: Image.Image, objects: Objects) -> tuple[Image.Image, Objects]:
    """Both mirrored at the diagonal: rows become columns."""
    height, width = objects.image_size
    transposed = replace(
        objects,
        image_size=(width, height),
        boxes=objects.boxes[:, [1, 0, 3, 2]],
        masks=objects.masks.transposed(),
    )
    return picture.transpose(Image.Transpose.TRANSPOSE), transposed


def crop(
    picture: Image.Image, objects: Objects, top: int, left: int, height: int, width: int
) -> tuple[Image.Image, Objects]:
    """Both cut to a region; objects whose box keeps no area there are dropped.

    As published it is the box that decides: a box that reaches into the region by a corner stays,
    even where no pixel of its mask does.
    """
    offset = torch.tensor([left, top, left, top])
    limit = torch.tensor([width, height, width, height])
    boxes = torch.minimum((objects.boxes - offset), limit).clamp(min=0)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    cut = replace(
        objects,
        image_size=(height, width),
        boxes=boxes[kept],
        labels=objects.labels[kept],
        masks=objects.masks.cut(top, left, height, width).selected(kept.tolist()),
    )
    return picture.crop((left, top, left + width, top + height)), cut


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
