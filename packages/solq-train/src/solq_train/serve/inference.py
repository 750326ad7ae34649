"""Uploads → what the page shows of them, as plain values; the last few are kept in memory.

All places are in pixels of the picture that the page draws on, which is the image or, of a large
one, as much as a screen can show: a hundred outlines of 12 megapixels would be megabytes.
"""

from __future__ import annotations

import io
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from solq_maskcodec import rle_to_polygons
from solq_model import SOLQ
from solq_model.categories import Category
from solq_model.draw import PALETTE
from solq_model.records import Instances
from solq_model.result import Result
from solq_train.serve.uploads import open_upload

TOP_K = 100  # objects of an image, whatever their score: the page has a threshold of its own
LARGEST_SHOWN = 1280  # pixels of a side of the picture that the page draws on
_ID_BYTES = 16


class ForgottenError(Exception):
    """The image is no longer kept, or never was."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One image that was sent. Of the picture only the bytes are kept, which are smaller."""

    data: bytes
    instances: Instances  # on the CPU, of the size that is shown


class Inference:
    """A model, and the last images it has seen; for one thread."""

    def __init__(self, model: SOLQ, name: str, *, most_kept: int, most_pixels: int) -> None:
        self.model = model
        self.name = name
        self.most_kept = most_kept
        self.most_pixels = most_pixels
        self._seen: OrderedDict[str, Seen] = OrderedDict()

    @property
    def num_coefficients(self) -> int | None:
        """The length of a mask vector; None for a model whose masks are no vectors."""
        return None if self.model.codec is None else self.model.codec.num_coefficients

    def about(self) -> dict[str, Any]:
        """What the page says of the model, and the colours it draws in."""
        return {
            "name": self.name,
            "categories": [
                {"id": category.id, "name": category.name, "slot": category.slot}
                for category in self.model.categories.entries
            ],
            "coefficients": self.num_coefficients,
            "layers": self.model.config.decoder_layers,
            "most_pixels": self.most_pixels,
            "palette": [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in PALETTE],
        }

    def predict(self, data: bytes) -> dict[str, Any]:
        """The objects in an image file's bytes, best first, under a new id for further questions.

        ValueError for bytes that are no image, or one that the network cannot take.
        """
        started = time.perf_counter()
        picture = open_upload(data, self.most_pixels)
        try:
            result: Result = self.model.predict(picture, threshold=0.0, top_k=TOP_K)
        except ValueError as error:  # an image of a size that leaves nothing of some level
            msg = f"image: {error}"
            raise ValueError(msg) from error
        instances = _shown(result.instances.to("cpu"))
        height, width = instances.image_size
        objects = zip(_objects(instances, result.categories), _polygons(instances), strict=True)
        return {
            "id": self._keep(Seen(data=data, instances=instances)),
            "image_size": [picture.height, picture.width],
            "width": width,
            "height": height,
            "objects": [{**item, "polygons": polygons} for item, polygons in objects],
            "milliseconds": _milliseconds(started),
        }

    def masks(self, image: str, coefficients: int) -> dict[str, Any]:
        """The masks as the first coefficients of each vector alone make them.

        `iou` compares each with the whole vector's, in the frame of its box.
        """
        started = time.perf_counter()
        instances = self._find(image).instances
        longest = self.num_coefficients
        if longest is None:
            msg = "coefficients: the masks of this model are no vectors"
            raise ValueError(msg)
        if not 1 <= coefficients <= longest:
            msg = f"coefficients must be in 1..{longest}, got {coefficients}"
            raise ValueError(msg)
        assert instances.mask_vectors is not None
        vectors = instances.mask_vectors.clone()
        vectors[:, coefficients:] = 0
        cut = replace(instances, mask_vectors=vectors)
        ious = _ious(cut.box_masks, instances.box_masks).tolist()
        return {
            "coefficients": coefficients,
            "objects": [
                {"polygons": outline, "iou": iou}
                for outline, iou in zip(_polygons(cut), ious, strict=True)
            ],
            "milliseconds": _milliseconds(started),
        }

    def explain(self, image: str, query: int) -> dict[str, Any]:
        """Where the query looked, layer by layer."""
        started = time.perf_counter()
        seen = self._find(image)
        picture = open_upload(seen.data, self.most_pixels)
        explanation = self.model.explain(picture, query=query)
        height, width = seen.instances.image_size
        scale = torch.tensor([width / picture.width, height / picture.height])
        return {
            "query": query,
            "name": explanation.name,
            "score": explanation.score,
            "strides": list(explanation.strides),
            "locations": _rounded(
                explanation.locations * scale, 1
            ),  # layers, heads, levels, points, 2
            "weights": _rounded(explanation.weights, 5),
            "boxes": _rounded(explanation.boxes * scale.repeat(2), 1),
            "milliseconds": _milliseconds(started),
        }

    def picture(self, image: str) -> bytes:
        """The picture that the page draws on, as a JPEG.

        Browsers cannot show all that can be sent, and turn and colour some of it differently.
        """
        seen = self._find(image)
        height, width = seen.instances.image_size
        picture = open_upload(seen.data, self.most_pixels)
        file = io.BytesIO()
        picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0).save(
            file, format="JPEG", quality=92
        )
        return file.getvalue()

    def _keep(self, seen: Seen) -> str:
        image = secrets.token_urlsafe(_ID_BYTES)
        self._seen[image] = seen
        while len(self._seen) > self.most_kept:
            self._seen.popitem(last=False)
        return image

    def _find(self, image: str) -> Seen:
        seen = self._seen.get(image)
        if seen is None:
            msg = f"this image is no longer kept (the last {self.most_kept} are); send it again"
            raise ForgottenError(msg)
        self._seen.move_to_end(image)
        return seen


def _shown(instances: Instances) -> Instances:
    """The instances in an image that is no larger than what is shown."""
    height, width = instances.image_size
    share = min(1.0, LARGEST_SHOWN / max(height, width))
    shown_height, shown_width = max(1, round(height * share)), max(1, round(width * share))
    scale = torch.tensor([shown_width / width, shown_height / height])
    boxes = instances.boxes * scale.repeat(2)
    return replace(instances, boxes=boxes, image_size=(shown_height, shown_width))


def _objects(instances: Instances, categories: Sequence[Category]) -> list[dict[str, Any]]:
    assert instances.queries is not None  # they come from a decoder
    rows = zip(
        instances.queries.tolist(),
        categories,
        instances.scores.tolist(),
        _rounded(instances.boxes, 1),
        strict=True,
    )
    return [
        {
            "query": query,
            "category_id": category.id,
            "name": category.name,
            "slot": category.slot,
            "score": round(score, 4),
            "box": box,
        }
        for query, category, score, box in rows
    ]


def _polygons(instances: Instances) -> list[list[list[int]]]:
    """The outlines of each mask, [x0, y0, x1, y1, …] for each part; none of a detector's."""
    if not instances.has_masks:
        return [[] for _ in range(len(instances))]
    # Outlines run between pixels: all numbers are whole.
    return [
        [[int(value) for value in part] for part in rle_to_polygons(rle)] for rle in instances.rle()
    ]


def _ious(
    some: Bool[Tensor, "instances size size"], others: Bool[Tensor, "instances size size"]
) -> Float[Tensor, " instances"]:
    """Intersection over union of each mask with its counterpart; 1 where both are empty."""
    common = (some & others).flatten(1).sum(1)
    either = (some | others).flatten(1).sum(1)
    return torch.where(either > 0, common / either, 1.0)


def _rounded(values: Tensor, decimals: int) -> Any:
    """The numbers as lists, with no more digits than a screen can show."""
    return _round(values.tolist(), decimals)


def _round(values: Any, decimals: int) -> Any:
    if isinstance(values, list):
        return [_round(value, decimals) for value in values]
    return round(values, decimals)


def _milliseconds(started: float) -> int:
    return round(1000 * (time.perf_counter() - started))
