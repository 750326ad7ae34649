"""Prediction on images as people have them: file → Result with masks, names and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from solq_model.atomic import atomic_file
from solq_model.categories import Categories, Category
from solq_model.draw import draw_instances
from solq_model.postprocess import postprocess
from solq_model.records import Instances
from solq_model.solq import SOLQ

ImageInput = str | Path | Image.Image | np.ndarray[Any, Any] | Tensor


@dataclass(frozen=True, kw_only=True)
class Result:
    """The objects found in one image, best first, in the data set's own ids and names."""

    image: Image.Image
    instances: Instances
    categories: tuple[Category, ...]  # of each instance

    def __len__(self) -> int:
        return len(self.instances)

    @property
    def scores(self) -> Float[Tensor, " instances"]:
        """Scores in 0..1, falling."""
        return self.instances.scores

    @property
    def boxes(self) -> Float[Tensor, "instances 4"]:
        """(x0, y0, x1, y1) in pixels of the image."""
        return self.instances.boxes

    @property
    def masks(self) -> Bool[Tensor, "instances height width"]:
        """Masks in the image; see `rle` for a form that stays small."""
        return self.instances.masks

    @property
    def labels(self) -> list[int]:
        """Category ids of the data set."""
        return [category.id for category in self.categories]

    @property
    def names(self) -> list[str]:
        """Category names of the data set."""
        return [category.name for category in self.categories]

    def rle(self) -> list[dict[str, object]]:
        """COCO RLE of each mask."""
        return self.instances.rle()

    def to_coco(self, image_id: int | str = 0) -> list[dict[str, object]]:
        """COCO detections: image and category id, `bbox` (x, y, w, h), RLE, score."""
        return coco_detections(image_id, self.instances, self.labels)

    def plot(self) -> Image.Image:
        """The image with masks, boxes, names and scores drawn on it."""
        labels = [f"{n} {s:.2f}" for n, s in zip(self.names, self.scores.tolist(), strict=True)]
        slots = [category.slot for category in self.categories]
        masks = self.masks if self.instances.has_masks else None
        return draw_instances(self.image, masks, self.boxes, labels, colors=slots)

    def save(self, path: str | Path) -> None:
        """Write `plot()` to an image file; the ending chooses the format."""
        path = Path(path)
        image_format = Image.registered_extensions().get(path.suffix.lower())
        if image_format not in Image.SAVE:  # some formats can only be read
            msg = f"path {path}: the ending must be that of an image format such as .png or .jpg"
            raise ValueError(msg)
        with atomic_file(path) as temporary:
            self.plot().save(temporary, format=image_format)


def coco_detections(
    image_id: int | str, instances: Instances, category_ids: Sequence[int]
) -> list[dict[str, object]]:
    """COCO detections of one image; without `segmentation` where there are no masks."""
    boxes = instances.boxes.tolist()
    detections: list[dict[str, object]] = [
        {
            "image_id": image_id,
            "category_id": category_id,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": score,
        }
        for category_id, (x0, y0, x1, y1), score in zip(
            category_ids, boxes, instances.scores.tolist(), strict=True
        )
    ]
    if instances.has_masks:
        for detection, rle in zip(detections, instances.rle(), strict=True):
            detection["segmentation"] = rle
    return detections


def predict(model: SOLQ, image: ImageInput, *, threshold: float, top_k: int) -> Result:
    """See `SOLQ.predict`."""
    if not 0 <= threshold <= 1:
        msg = f"threshold must be in 0..1, got {threshold}"
        raise ValueError(msg)
    picture = open_image(image)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            predictions = model([model.preprocessing(picture).to(device)])
            sizes = [(picture.height, picture.width)]
            found = postprocess(predictions, sizes, model.codec, top_k)[0]
    finally:
        model.train(was_training)
    kept, categories = known_categories(found, model.categories, threshold)
    return Result(image=picture, instances=kept, categories=categories)


def known_categories(
    instances: Instances, categories: Categories, threshold: float = 0.0
) -> tuple[Instances, tuple[Category, ...]]:
    """The instances of at least a score whose class slot stands for a category, with that category.

    Published COCO weights have 91 slots for 80 categories; the other 11 mean nothing.
    """
    slots = [categories.category_of(slot) for slot in instances.labels.tolist()]
    scores = instances.scores.tolist()
    keep = [i for i, slot in enumerate(slots) if slot is not None and scores[i] >= threshold]
    index = torch.tensor(keep, dtype=torch.int64, device=instances.scores.device)
    return instances.select(index), tuple(c for i in keep if (c := slots[i]) is not None)


def open_image(image: ImageInput) -> Image.Image:
    """The image as RGB; a file is turned upright where its camera says so."""
    if isinstance(image, (str, Path)):
        try:
            with Image.open(image) as file:
                return ImageOps.exif_transpose(file).convert("RGB")
        except FileNotFoundError:
            msg = f"image {image}: no such file"
            raise ValueError(msg) from None
        except (
            UnidentifiedImageError,
            OSError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
        ) as error:
            msg = f"image {image}: not a whole image file ({error})"
            raise ValueError(msg) from error
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if isinstance(image, (Tensor, np.ndarray)) and 0 in image.shape:
        msg = f"image must have at least one pixel, got shape {tuple(image.shape)}"
        raise ValueError(msg)
    if isinstance(image, Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            found = f"{image.dtype} {tuple(image.shape)}"
            msg = f"image must be a uint8 tensor [3, height, width], got {found}"
            raise ValueError(msg)
        return F.to_pil_image(image.cpu())
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            msg = f"image must be a uint8 array [height, width, 3], got {image.dtype} {image.shape}"
            raise ValueError(msg)
        return Image.fromarray(image)
    msg = f"image must be a path, a PIL image, an array or a tensor, got {type(image).__name__}"
    raise ValueError(msg)
