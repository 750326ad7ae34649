"""Explanation: where one query looked in an image, layer by layer, and what it found there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from solq_model.categories import Categories, Category
from solq_model.draw import save_picture

Style = Literal["points", "heat"]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Where one query of the decoder looked in an image, and what it found there, layer by layer.

    Places are in pixels of the image, (x, y) or (x0, y0, x1, y1), and may lie outside of it. All
    tensors are on the CPU. Layers, heads, levels and points are counted from 0.
    """

    image: Image.Image
    query: int
    category: Category  # that the query is explained as: of its last layer
    categories: Categories  # of the model
    locations: Float[Tensor, "layers heads levels points 2"]  # (x, y) that attention reads
    weights: Float[Tensor, "layers heads levels points"]  # sum to 1 for each layer and head
    self_attention: Float[Tensor, "layers heads queries"]  # how much it listens to each query
    references: tuple[Tensor, ...]  # of each layer: the point or the box it looks around
    boxes: Float[Tensor, "layers 4"]  # predicted after each layer
    class_scores: Float[Tensor, "layers classes"]  # after each layer, by class slot
    mask: Bool[Tensor, "height width"] | None  # after the last layer; None of a detector
    level_sizes: tuple[tuple[int, int], ...]  # (height, width) of each level in cells
    input_size: tuple[int, int]  # (height, width) of the image as the network saw it

    @property
    def label(self) -> int:
        """The category's id in the data set."""
        return self.category.id

    @property
    def name(self) -> str:
        """The category's name in the data set."""
        return self.category.name

    @property
    def score(self) -> float:
        """The category's score after the last layer."""
        return self.class_scores[-1, self.category.slot].item()

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the network's input that a cell of each level stands for, along a side."""
        height, width = self.input_size
        return tuple(
            2 ** round(math.log2(max(height / rows, width / columns)))
            for rows, columns in self.level_sizes
        )

    def best(self, layer: int) -> tuple[Category, float]:
        """The category that the query is most sure of after a layer, and its score."""
        scores = self.class_scores[layer].tolist()
        category = max(self.categories.entries, key=lambda entry: scores[entry.slot])
        return category, scores[category.slot]

    def plot(
        self,
        layer: int | Literal["all"] | None = None,
        head: int | None = None,
        level: int | None = None,
        *,
        style: Style = "points",
    ) -> Image.Image:
        """The image with the places that were read, larger where they count more.

        A panel for each layer, or for the one of `layer`, or one for all of them together
        ("all"). `head` and `level` show what one of them reads. `style` "heat" spreads each place
        over the cells it is read from, and adds them up.
        """
        from solq_model.explain.picture import draw_explanation

        return draw_explanation(self, layer=layer, head=head, level=level, style=style)

    def save(
        self,
        path: str | Path,
        layer: int | Literal["all"] | None = None,
        head: int | None = None,
        level: int | None = None,
        *,
        style: Style = "points",
    ) -> None:
        """Write `plot(…)` to an image file; the ending chooses the format."""
        save_picture(self.plot(layer, head, level, style=style), Path(path))

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON, by the names of the fields; without image and mask."""
        return {
            "query": self.query,
            "label": self.label,
            "name": self.name,
            "score": self.score,
            "image_size": [self.image.height, self.image.width],
            "input_size": list(self.input_size),
            "level_sizes": [list(size) for size in self.level_sizes],
            "locations": self.locations.tolist(),
            "weights": self.weights.tolist(),
            "self_attention": self.self_attention.tolist(),
            "references": [reference.tolist() for reference in self.references],
            "boxes": self.boxes.tolist(),
            "class_scores": self.class_scores.tolist(),
        }
