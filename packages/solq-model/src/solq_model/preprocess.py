"""Preprocessing: PIL image → normalised tensor, as the published evaluation transform does it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

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


def normalize(image: Image.Image) -> Float[Tensor, "3 height width"]:
    """Float tensor of an RGB image with ImageNet's mean and deviation."""
    return F.normalize(F.to_dtype(F.pil_to_tensor(image), scale=True), IMAGENET_MEAN, IMAGENET_STD)


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
        # On PIL images: their anti-aliased resize is what the published pixels come from.
        return normalize(F.resize(image.convert("RGB"), list(size)))

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
