"""What an annotation file holds: images with the objects annotated in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solq_train.data.segmentations import Segmentation


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoAnnotation:
    """One object, or one crowd region, of an image."""

    id: int
    category_id: int
    bbox_xywh: tuple[float, float, float, float]  # left, top, width, height in pixels
    segmentation: Segmentation
    area: float
    is_crowd: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoImage:
    """One image with all its annotations, crowds too, in the order of the file."""

    id: int
    file_name: str
    height: int
    width: int
    annotations: Sequence[CocoAnnotation]
