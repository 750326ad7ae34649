"""The legend under the panels: what colours, sizes and lines mean, and what each level gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image, ImageDraw, ImageFont

from solq_model.draw import PALETTE
from solq_model.explain.panel import Samples, View
from solq_model.explain.strokes import (
    FINER,
    INK,
    PAPER,
    draw_cross,
    draw_dot,
    draw_frame,
    draw_ring,
    heat_colors,
)

LINE, GAP, LETTERS = 28, 17, 15  # height of a line, space between entries, height of letters
WEIGHTS = (0.05, 0.4)  # whose dots are shown
GREY = (200, 204, 210)  # of no level

Sign = Callable[[ImageDraw.ImageDraw, float, float], None]  # draws around (x, y)


@dataclass(frozen=True)
class Entry:
    """Words, and the sign before them that they explain."""

    text: str
    sign: Sign | None = None
    sign_width: int = 0


def draw_legend(width: int, rows: Sequence[Sequence[Entry]]) -> Image.Image:
    """The rows of entries one below the other; one too long goes on in the next line."""
    font = ImageFont.load_default(LETTERS * FINER)
    canvas = Image.new("RGB", (width * FINER, 4 * len(rows) * LINE * FINER), PAPER)
    draw = ImageDraw.Draw(canvas, "RGBA")
    line = -1
    for row in rows:
        x, line = 0.0, line + 1
        for entry in row:
            sign_width = (entry.sign_width + 7) * FINER if entry.sign else 0
            length = sign_width + draw.textlength(entry.text, font=font)
            if x > 0 and x + length > canvas.width:
                x, line = 0.0, line + 1
            y = (line + 0.5) * LINE * FINER
            if entry.sign is not None:
                entry.sign(draw, x + entry.sign_width * FINER / 2, y)
            draw.text((x + sign_width, y), entry.text, fill=INK, font=font, anchor="lm")
            x += length + GAP * FINER
    return canvas.crop((0, 0, canvas.width, (line + 1) * LINE * FINER)).reduce(FINER)


def level_entries(strides: Sequence[int], samples: Samples, *, dots: bool) -> list[Entry]:
    """Each level that is shown, with its share of the weights."""
    shares = torch.zeros(len(strides), dtype=samples.weights.dtype)
    shares.index_add_(0, samples.levels, samples.weights / samples.weights.sum())
    entries = []
    for level in samples.levels.unique().tolist():
        text = f"level {level} (stride {strides[level]}): {shares[level].item():.0%}"
        sign = partial(_dot, weight=0.25, color=PALETTE[level]) if dots else None
        entries.append(Entry(text, sign, 14))
    return entries


def weight_entries() -> list[Entry]:
    """How large a dot of some weights is."""
    texts = [f"weight {WEIGHTS[0]:g}", *(f"{weight:g}" for weight in WEIGHTS[1:])]
    return [
        Entry(text, partial(_dot, weight=weight, color=GREY), 18)
        for text, weight in zip(texts, WEIGHTS, strict=True)
    ]


def heat_entries() -> list[Entry]:
    """What the colours of the heat mean."""
    return [Entry("little, much is read", _heat_bar, 60)]


def shape_entries(*, points: bool, boxes: bool, mask: bool) -> list[Entry]:
    """The lines: the points or boxes that layers start from, the predicted box, the mask."""
    entries = [
        (points, Entry("where it starts", _cross, 18)),
        (boxes, Entry("where it starts", partial(_frame, dashed=True), 24)),
        (True, Entry("box after the layer", partial(_frame, dashed=False), 24)),
        (mask, Entry("mask at the end", _blob, 24)),
    ]
    return [entry for is_drawn, entry in entries if is_drawn]


def beyond_entries(
    samples: Samples, view: View, image_size: tuple[int, int], *, dots: bool
) -> list[Entry]:
    """What is not drawn where it is, and what has no image under it.

    `image_size` is (height, width).
    """
    entries = []
    if dots and bool(view.hides(samples.locations).any()):
        entries.append(Entry("beyond the panel", _ring, 10))
    height, width = image_size
    limit = samples.locations.new_tensor([width, height])
    outside = ((samples.locations < 0) | (samples.locations > limit)).any(-1)
    if outside.any():
        text = f"{int(outside.sum())} of {len(outside)} places outside of the image"
        entries.append(Entry(text))
    return entries


def _dot(
    draw: ImageDraw.ImageDraw, x: float, y: float, *, weight: float, color: tuple[int, int, int]
) -> None:
    draw_dot(draw, (x, y), weight, color)


def _ring(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    draw_ring(draw, (x, y), 5 * FINER)


def _cross(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    draw_cross(draw, (x, y))


def _frame(draw: ImageDraw.ImageDraw, x: float, y: float, *, dashed: bool) -> None:
    x0, y0, x1, y1 = _icon(x, y)
    draw_frame(draw, [[x0, y0], [x1, y1]], dashed=dashed)


def _blob(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    draw.ellipse(_icon(x, y), outline=INK, width=FINER)


def _icon(x: float, y: float) -> tuple[float, float, float, float]:
    return x - 12 * FINER, y - 8 * FINER, x + 12 * FINER, y + 8 * FINER


def _heat_bar(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    side = 60 * FINER
    for step, color in enumerate(heat_colors(torch.linspace(0, 1, side)).int().tolist()):
        left = x - side / 2 + step
        draw.line((left, y - 7 * FINER, left, y + 7 * FINER), fill=tuple(color))
