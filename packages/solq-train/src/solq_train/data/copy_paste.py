"""Objects of one image pasted over another (Simple Copy-Paste, Ghiasi et al. 2021)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from solq_maskcodec import masks_to_rle
from solq_train.data.masks import InstanceMasks
from solq_train.data.records import Objects
from solq_train.data.segmentations import Segmentation
from solq_train.data.transforms import crop, random_corner

# Of an object that is covered by others, less than this cannot be told to be one any more.
LEAST_PIXELS = 16
LEAST_SHARE = 0.1


def paste_objects(
    picture: Image.Image,
    objects: Objects,
    source_picture: Image.Image,
    source: Objects,
    rng: random.Random,
) -> tuple[Image.Image, Objects]:
    """Both with some of the source's objects in front, at a place where the source fits.

    Of a source that is larger, a part of the picture's size is taken. Objects that are covered lose
    what is covered, and their boxes become those of the rest; those of which too little is left are
    dropped.
    """
    height, width = (
        min(sides) for sides in zip(objects.image_size, source.image_size, strict=True)
    )
    corner = random_corner(source.image_size, (height, width), rng)
    source_picture, source = crop(source_picture, source, *corner, height, width)
    place = random_corner(objects.image_size, (height, width), rng)
    count = len(source.labels)
    chosen = sorted(rng.sample(range(count), rng.randint(1, count))) if count else []

    cover = np.zeros(objects.image_size, dtype=bool)
    pasted = _Visible()
    for index, mask in _placed(source, chosen, place, objects.image_size):
        if np.count_nonzero(mask) >= LEAST_PIXELS:
            cover |= mask
            pasted.add(mask, source.labels[index], _tight_box(mask))
    if not pasted.labels:
        return picture, objects
    kept = _Visible()
    for index, label in enumerate(objects.labels):
        mask = objects.masks.mask(index)
        rest = mask & ~cover
        before, after = np.count_nonzero(mask), np.count_nonzero(rest)
        if before == after:
            kept.add(mask, label, objects.boxes[index])
        elif after >= max(LEAST_PIXELS, LEAST_SHARE * before):
            kept.add(rest, label, _tight_box(rest))
    layer = Image.new(picture.mode, picture.size)
    layer.paste(source_picture, (place[1], place[0]))
    mixed = Image.composite(layer, picture, Image.fromarray(cover))
    return mixed, _joined(objects, kept, pasted)


@dataclass(frozen=True)
class _Visible:
    """Objects as they are seen, one after another."""

    segmentations: list[Segmentation] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    boxes: list[Tensor] = field(default_factory=list)

    def add(self, mask: Bool[np.ndarray, "height width"], label: Tensor, box: Tensor) -> None:
        """One more; of its mask the run lengths are kept."""
        self.segmentations.extend(masks_to_rle(mask[None]))
        self.labels.append(label)
        self.boxes.append(box)


def _placed(
    source: Objects, chosen: list[int], place: tuple[int, int], image_size: tuple[int, int]
) -> Iterator[tuple[int, Bool[np.ndarray, "height width"]]]:
    """The chosen objects with their masks in the image that they are pasted into."""
    (top, left), (height, width) = place, source.image_size
    for index in chosen:
        mask = np.zeros(image_size, dtype=bool)
        mask[top : top + height, left : left + width] = source.masks.mask(index)
        yield index, mask


def _tight_box(mask: Bool[np.ndarray, "height width"]) -> Tensor:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    corners = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return torch.tensor(corners, dtype=torch.float32)


def _joined(objects: Objects, kept: _Visible, pasted: _Visible) -> Objects:
    segmentations = kept.segmentations + pasted.segmentations
    return replace(
        objects,
        boxes=torch.stack(kept.boxes + pasted.boxes),
        labels=torch.stack(kept.labels + pasted.labels),
        masks=InstanceMasks.of(range(len(segmentations)), segmentations, objects.image_size),
    )
