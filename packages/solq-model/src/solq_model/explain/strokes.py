"""The strokes and colours that panels and legend share.

Everything is drawn on a canvas `FINER` times too large, which is reduced at the end: Pillow's own
edges are not smooth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from PIL.ImageDraw import ImageDraw
from torch import Tensor

FINER = 3
PAPER, INK, FADED = (24, 26, 31), (242, 243, 245), (168, 174, 184)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
LARGEST_DOT, SMALLEST_DOT = 12.0, 1.2  # radius in pixels, of a weight of 1 and of next to nothing
OPAQUE_WEIGHT = 0.25  # dots of less are more or less transparent
# Black, violet, red, orange, pale yellow: lightness rises, which every kind of eye sees.
HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))


def draw_dot(
    draw: ImageDraw,
    center: Sequence[float],
    weight: float,
    color: tuple[int, int, int],
    within: tuple[int, int] | None = None,
) -> None:
    """Draws a dot whose area is in proportion to the weight.

    One outside of a canvas of the size (width, height) `within` becomes a ring at its border.
    """
    radius = FINER * max(SMALLEST_DOT, LARGEST_DOT * math.sqrt(weight))
    alpha = round(255 * (0.35 + 0.6 * min(1.0, weight / OPAQUE_WEIGHT)))
    x, y = center
    if within is None or (0 <= x < within[0] and 0 <= y < within[1]):
        circle = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(circle, fill=(*color, alpha), outline=(*BLACK, alpha), width=FINER // 2 + 1)
        return
    edge = [min(max(v, radius), side - 1 - radius) for v, side in zip(center, within, strict=True)]
    draw_ring(draw, edge, radius, (*color, alpha))


def draw_ring(
    draw: ImageDraw, center: Sequence[float], radius: float, color: tuple[int, ...] = INK
) -> None:
    """Draws a circle."""
    x, y = center
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color, width=FINER)


def draw_cross(draw: ImageDraw, center: Sequence[float]) -> None:
    """Draws a white cross with a black edge."""
    x, y = center
    for width, color in ((4 * FINER, BLACK), (2 * FINER, WHITE)):
        arm = 6 * FINER + width / 2
        draw.line((x - arm, y, x + arm, y), fill=color, width=width)
        draw.line((x, y - arm, x, y + arm), fill=color, width=width)


def draw_frame(draw: ImageDraw, corners: Sequence[Sequence[float]], *, dashed: bool) -> None:
    """Draws a white rectangle from the low to the high corner."""
    (x0, y0), (x1, y1) = corners
    if not dashed:
        draw.rectangle((x0, y0, x1, y1), outline=WHITE, width=FINER + 1)
        return
    for y in (y0, y1):
        _draw_dashes(draw, (x0, y), (x1, y))
    for x in (x0, x1):
        _draw_dashes(draw, (x, y0), (x, y1))


def _draw_dashes(draw: ImageDraw, start: tuple[float, float], end: tuple[float, float]) -> None:
    length, dash = math.dist(start, end), 4 * FINER
    for begin in range(0, math.ceil(length), 2 * dash):
        ends = []
        for share in (begin / length, min(begin + dash, length) / length):
            ends += [a + share * (b - a) for a, b in zip(start, end, strict=True)]
        draw.line(ends, fill=WHITE, width=FINER + 1)


def heat_colors(heat: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 3"]:
    """The colours (0..255) of numbers in 0..1."""
    table = torch.tensor(HEAT, dtype=heat.dtype)
    place = heat * (len(HEAT) - 1)
    below = place.floor().clamp(max=len(HEAT) - 2)
    first = below.long()
    return torch.lerp(table[first], table[first + 1], (place - below)[..., None])
