"""One panel of the picture: a part of the image under what a query reads and predicts there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from torch import Tensor

from solq_model.draw import PALETTE, outline
from solq_model.explain.strokes import (
    FINER,
    WHITE,
    draw_cross,
    draw_dot,
    draw_frame,
    heat_colors,
)
from solq_model.images import to_picture, to_tensor

BEYOND = (58, 61, 68)  # where there is no image
DIMMED = [30 + round(0.45 * level) for level in range(256)]  # of each level of a channel
FINEST_HEAT = 3.0  # pixels of deviation; less would not be seen


@dataclass(frozen=True)
class View:
    """The part of the image that a panel shows, in pixels of the image; may reach beyond it."""

    x0: float
    y0: float
    x1: float
    y1: float
    scale: float  # pixels of the panel per pixel of the image

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the panel in its own pixels."""
        width, height = (self.x1 - self.x0) * self.scale, (self.y1 - self.y0) * self.scale
        return max(1, round(width)), max(1, round(height))

    def place(self, points: Float[Tensor, "*shape 2"]) -> Float[Tensor, "*shape 2"]:
        """Places of the image in pixels of the panel."""
        return (points - points.new_tensor([self.x0, self.y0])) * self.scale

    def hides(self, points: Float[Tensor, "*shape 2"]) -> Bool[Tensor, "*shape"]:
        """Which places of the image the panel does not show."""
        places = self.place(points)
        return ((places < 0) | (places >= places.new_tensor(self.size))).any(-1)

    def crop(self, image: Image.Image, background: tuple[int, int, int] | int) -> Image.Image:
        """What the panel shows of the image, and background where there is none."""
        panel = Image.new(image.mode, self.size, background)
        x0, x1 = max(self.x0, 0.0), min(self.x1, image.width)
        y0, y1 = max(self.y0, 0.0), min(self.y1, image.height)
        if x0 < x1 and y0 < y1:
            corners = self.place(torch.tensor([[x0, y0], [x1, y1]], dtype=torch.float64))
            left, top, right, bottom = corners.round().int().flatten().tolist()
            size = (max(1, right - left), max(1, bottom - top))
            part = image.resize(size, Image.Resampling.BICUBIC, box=(x0, y0, x1, y1))
            panel.paste(part, (left, top))
        return panel


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The places that are read."""

    locations: Float[Tensor, "samples 2"]  # (x, y) in pixels of the image
    weights: Float[Tensor, " samples"]
    levels: Int[Tensor, " samples"]


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What is outlined, in pixels of the image."""

    mask: Bool[Tensor, "height width"] | None
    box: Float[Tensor, " 4"]  # (x0, y0, x1, y1): predicted
    reference: Float[Tensor, " reference"]  # (x, y) or (x0, y0, x1, y1): where it starts


def draw_points(image: Image.Image, view: View, samples: Samples, shapes: Shapes) -> Image.Image:
    """The panel with a dot at each place, its area in proportion to its weight."""
    fine = replace(view, scale=view.scale * FINER)
    panel = fine.crop(_dimmed(image), BEYOND)
    _draw_shapes(panel, fine, shapes)
    draw = ImageDraw.Draw(panel, "RGBA")
    places = fine.place(samples.locations)
    for index in samples.weights.argsort(descending=True, stable=True).tolist():
        weight = samples.weights[index].item()
        color = PALETTE[int(samples.levels[index])]
        draw_dot(draw, places[index].tolist(), weight, color, within=panel.size)
    return panel.resize(view.size, Image.Resampling.BOX)


def draw_heat(
    image: Image.Image,
    view: View,
    samples: Samples,
    shapes: Shapes,
    level_sizes: Sequence[tuple[int, int]],
) -> Image.Image:
    """The panel under the sum of all weights, each spread over the cells that are read there."""
    heat = density(view, samples, level_sizes, (image.height, image.width))
    # The root shows what is little beside the peaks; where nothing is read, the image stays.
    heat = (heat / heat.max().clamp(min=1e-12)).sqrt()
    panel = to_tensor(view.crop(_dimmed(image), BEYOND)).float()
    mixed = torch.lerp(panel, heat_colors(heat).permute(2, 0, 1), heat.clamp(max=0.85))
    picture = to_picture(mixed.round().to(torch.uint8))
    fine = replace(view, scale=view.scale * FINER)
    picture = picture.resize(fine.size, Image.Resampling.BICUBIC)
    _draw_shapes(picture, fine, shapes)
    return picture.resize(view.size, Image.Resampling.BOX)


def density(
    view: View,
    samples: Samples,
    level_sizes: Sequence[tuple[int, int]],
    image_size: tuple[int, int],
) -> Float[Tensor, "height width"]:
    """Weight per area of the panel: a Gaussian of each sample, as wide as the cells it reads."""
    cells = torch.tensor(level_sizes, dtype=torch.float32)[samples.levels]  # [samples, 2]
    cell_sides = torch.tensor(image_size) / cells * view.scale
    # Bilinear reading is a tent of half-width 1 cell, whose deviation is 1 / sqrt(6).
    deviations = (cell_sides / math.sqrt(6)).clamp(min=FINEST_HEAT).flip(-1)  # of (x, y)
    places = view.place(samples.locations.float())
    profiles = []
    for axis, side in enumerate(view.size):
        steps = torch.arange(side) + 0.5 - places[:, axis, None]
        deviation = deviations[:, axis, None]
        profiles.append((-0.5 * (steps / deviation) ** 2).exp() / deviation)
    across, down = profiles  # [samples, width], [samples, height]
    return (down * samples.weights.float()[:, None]).T @ across / (2 * math.pi)


def _dimmed(image: Image.Image) -> Image.Image:
    """The image, paler and neither black nor white: what is drawn on it stands out."""
    return ImageEnhance.Color(image).enhance(0.5).point(DIMMED * 3)


def _draw_shapes(panel: Image.Image, view: View, shapes: Shapes) -> None:
    """Draws mask, reference and box on a panel that is `FINER` times too large."""
    if shapes.mask is not None:
        soft = view.crop(mask_image(shapes.mask), 0)
        # Smooth over about a pixel of the image, which is a stair on an enlarged panel.
        soft = soft.filter(ImageFilter.GaussianBlur(0.6 * view.scale))
        edge = outline(to_tensor(soft)[0] >= 128, FINER)
        panel.paste(WHITE, mask=mask_image(edge))
    draw = ImageDraw.Draw(panel)
    corners = view.place(shapes.reference.view(-1, 2)).tolist()
    if len(corners) == 1:
        draw_cross(draw, corners[0])
    else:
        draw_frame(draw, corners, dashed=True)
    draw_frame(draw, view.place(shapes.box.view(2, 2)).tolist(), dashed=False)


def mask_image(mask: Bool[Tensor, "height width"]) -> Image.Image:
    """The mask as a grey image, 255 inside."""
    return Image.fromarray(mask.to(torch.uint8).mul(255).cpu().numpy())
