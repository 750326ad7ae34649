"""Preprocessing: PIL image → normalised tensor, as the published evaluation transform does it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from solq_model.images import to_tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def resize_size(
    image_size: tuple[int, int], short_side: int, max_size: int | None
) -> tuple[int, int]:
    """(height, width) after scaling to a short side, the long side held to `max_size`.

    The published rule with its rounding (datasets/transforms.py, resize): the short side is
    rounded when the long side binds, the other side is truncated.
    """
    height, width = image_size
    shorter, longer = float(min(height, width)), float(max(height, width))
    if max_size is not None and longer / shorter * short_side > max_size:
        # At least 1: the published rule gives 0 for images a thousand times longer than wide.
        short_side = max(1, round(max_size * shorter / longer))
    if min(height, width) == short_side:
        return height, width
    if width < height:
        return int(short_side * height / width), short_side
    return short_side, int(short_side * width / height)


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at this (height, width): bilinear, over all pixels where it becomes smaller."""
    height, width = size
    return image.resize((width, height), Image.Resampling.BILINEAR)


def normalize(
    pixels: UInt8[Tensor, "*batch 3 height width"],
) -> Float[Tensor, "*batch 3 height width"]:
    """RGB pixels with ImageNet's mean and deviation, on their device."""
    mean, deviation = (
        torch.tensor(values, device=pixels.device)[:, None, None]
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    # Times 1/255 and not by 255, which differs in the last bit: as torchvision does it.
    return pixels.float().mul_(1 / 255).sub_(mean).div_(deviation)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image is scaled before the network sees it; stored with the model."""

    short_side: int = 800
    max_size: int = 1333

    def __post_init__(self) -> None:
        if not 1 <= self.short_side <= self.max_size:
            msg = f"preprocessing needs 1 <= short_side <= max_size, got {self}"
            raise ValueError(msg)

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 height width"]:
        size = resize_size((image.height, image.width), self.short_side, self.max_size)
        # Pillow's anti-aliased resize is what the published pixels come from.
        return normalize(to_tensor(resize(image.convert("RGB"), size)))

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
