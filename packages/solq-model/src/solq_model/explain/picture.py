"""Explanation → a picture: the image with its object, a panel for each layer, and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from solq_model.draw import draw_instances
from solq_model.explain.explanation import Explanation, Style
from solq_model.explain.legend import (
    beyond_entries,
    draw_legend,
    heat_entries,
    level_entries,
    shape_entries,
    weight_entries,
)
from solq_model.explain.panel import (
    BEYOND,
    Samples,
    Shapes,
    View,
    draw_heat,
    draw_points,
    mask_image,
)
from solq_model.explain.strokes import FADED, FINER, INK, PAPER, draw_frame
from solq_model.images import to_tensor

WIDTH = 960  # pixels of every picture, whatever the image's size
MARGIN = 16
MOST_COLUMNS = 4
TITLE, CAPTION, NOTE = 26, 19, 16  # heights of letters
READING = {
    "points": "each dot is a place that the query reads, its area the weight",
    "heat": "what the query reads: all places with their weights, added up",
}
NARROWEST, WIDEST = 0.8, 1.6  # panels: width / height
SHOWN_WEIGHT = 0.95  # of what is read, along each axis, lies inside the panels


def draw_explanation(
    explanation: Explanation,
    *,
    layer: int | Literal["all"] | None,
    head: int | None,
    level: int | None,
    style: Style,
) -> Image.Image:
    """See `Explanation.plot`."""
    groups = _groups(explanation, layer)
    _check("head", head, explanation.weights.shape[1])
    _check("level", level, explanation.weights.shape[2])
    if style not in get_args(Style):
        msg = f"style must be one of {', '.join(get_args(Style))}, got {style!r}"
        raise ValueError(msg)
    columns = min(len(groups) + 1, MOST_COLUMNS)
    view = _view(explanation, (WIDTH - MARGIN * (columns + 1)) // columns)
    panels = [(_overview(explanation, view), "image", "")]
    for layers in groups:
        samples = _samples(explanation, layers, head, level)
        panel = _panel(explanation, layers, samples, view, style)
        name = f"layer {layers[0]}" if len(layers) == 1 else f"layers 0 to {layers[-1]}"
        category, score = explanation.best(layers[-1])
        panels.append((panel, name, f"{category.name} {score:.2f}"))
    title = f"query {explanation.query}: {explanation.name} {explanation.score:.2f}"
    parts = [f"{part} {n}" for part, n in (("head", head), ("level", level)) if n is not None]
    about = f"{', '.join(parts)}: {READING[style]}" if parts else READING[style]
    drawn = [layer for layers in groups for layer in layers]
    samples = _samples(explanation, drawn, head, level)
    legend = _legend(explanation, [layers[0] for layers in groups], samples, view, style)
    return _arrange(title, about, panels, columns, legend)


def _groups(explanation: Explanation, layer: int | Literal["all"] | None) -> list[list[int]]:
    """The layers that each panel shows."""
    layers = list(range(len(explanation.weights)))
    if layer is None:
        return [[index] for index in layers]
    if layer == "all":
        return [layers]
    _check("layer", layer, len(layers), 'or "all"')
    return [[layer]]


def _check(name: str, number: int | None, count: int, more: str = "") -> None:
    if number is not None and (not isinstance(number, int) or not 0 <= number < count):
        msg = f"{name} must be in 0..{count - 1}{f' {more}' if more else ''}, got {number!r}"
        raise ValueError(msg)


def _samples(
    explanation: Explanation, layers: Sequence[int], head: int | None, level: int | None
) -> Samples:
    """The samples of these layers, of all heads and levels or of one."""
    heads = slice(None) if head is None else slice(head, head + 1)
    levels = slice(None) if level is None else slice(level, level + 1)
    weights = explanation.weights[list(layers), heads, levels]
    numbers = torch.arange(explanation.weights.shape[2])[levels, None].expand_as(weights)
    return Samples(
        locations=explanation.locations[list(layers), heads, levels].reshape(-1, 2),
        weights=weights.flatten(),
        levels=numbers.flatten(),
    )


def _panel(
    explanation: Explanation, layers: Sequence[int], samples: Samples, view: View, style: Style
) -> Image.Image:
    """What these layers read; from where the first starts, to the box after the last."""
    shapes = Shapes(
        mask=explanation.mask,
        box=explanation.boxes[layers[-1]],
        reference=explanation.references[layers[0]],
    )
    if style == "points":
        return draw_points(explanation.image, view, samples, shapes)
    return draw_heat(explanation.image, view, samples, shapes, explanation.level_sizes)


def _legend(
    explanation: Explanation, first: Sequence[int], samples: Samples, view: View, style: Style
) -> Image.Image:
    """The legend of panels that start from the references of the layers `first`."""
    dots = style == "points"
    kinds = {len(explanation.references[layer]) for layer in first}
    image_size = (explanation.image.height, explanation.image.width)
    return draw_legend(
        WIDTH - 2 * MARGIN,
        [
            [
                *level_entries(explanation.strides, samples, dots=dots),
                *(weight_entries() if dots else heat_entries()),
            ],
            [
                *shape_entries(
                    points=2 in kinds, boxes=4 in kinds, mask=explanation.mask is not None
                ),
                *beyond_entries(samples, view, image_size, dots=dots),
            ],
        ],
    )


def _overview(explanation: Explanation, view: View) -> Image.Image:
    """The whole image with the object as found, and a frame around what the panels show."""
    width, height = view.size
    image = explanation.image
    scale = min(width / image.width, height / image.height)
    more_x, more_y = (width / scale - image.width) / 2, (height / scale - image.height) / 2
    whole = View(-more_x, -more_y, image.width + more_x, image.height + more_y, scale * FINER)
    mask = explanation.mask
    found = None if mask is None else to_tensor(whole.crop(mask_image(mask), 0)) >= 128
    panel = draw_instances(
        whole.crop(image, BEYOND),
        found,
        whole.place(explanation.boxes[-1].view(1, 2, 2)).flatten(1),
        [""],
        colors=[explanation.category.slot],
        scale=1,
    )
    if view.scale > 1.1 * scale:
        frame = whole.place(torch.tensor([[view.x0, view.y0], [view.x1, view.y1]]))
        draw_frame(ImageDraw.Draw(panel), frame.tolist(), dashed=False)
    return panel.resize(view.size, Image.Resampling.BOX)


def _view(explanation: Explanation, panel_width: int) -> View:
    """What all panels show: boxes, references and nearly all that is read, and a margin.

    Of what lies outside of the image no more than the margin.
    """
    corners = [explanation.boxes.view(-1, 2), *(r.view(-1, 2) for r in explanation.references)]
    read = explanation.locations.reshape(-1, 2)
    weights = explanation.weights.flatten()
    low, high = [], []
    for axis, side in enumerate(explanation.image.size):
        fixed = torch.cat([points[:, axis] for points in corners])
        first, last = _central(read[:, axis], weights, SHOWN_WEIGHT)
        first = max(min(first, fixed.min().item()), 0.0)
        last = min(max(last, fixed.max().item()), float(side))
        margin = max(0.12 * (last - first), 0.01 * side)
        low.append(first - margin)
        high.append(last + margin)
    width, height = high[0] - low[0], high[1] - low[1]
    aspect = min(max(width / height, NARROWEST), WIDEST)
    grown = (max(width, height * aspect), max(height, width / aspect))
    x0, y0 = ((a + b - side) / 2 for a, b, side in zip(low, high, grown, strict=True))
    return View(x0, y0, x0 + grown[0], y0 + grown[1], panel_width / grown[0])


def _central(values: Tensor, weights: Tensor, share: float) -> tuple[float, float]:
    """Between which values the middle of the weight lies."""
    order = values.argsort()
    below = weights[order].cumsum(0) / weights.sum()
    first = int((below < (1 - share) / 2).sum())
    last = int((below < (1 + share) / 2).sum())
    return values[order[first]].item(), values[order[min(last, len(values) - 1)]].item()


def _arrange(
    title: str,
    about: str,
    panels: Sequence[tuple[Image.Image, str, str]],
    columns: int,
    legend: Image.Image,
) -> Image.Image:
    """Title, panels in rows with their captions, and the legend."""
    fonts = {size: ImageFont.load_default(size) for size in (TITLE, CAPTION, NOTE)}
    width, height = panels[0][0].size
    header, caption = 2 * MARGIN + TITLE, CAPTION + MARGIN // 2
    rows = -(-len(panels) // columns)
    row_height = caption + height + MARGIN
    picture = Image.new("RGB", (WIDTH, header + rows * row_height + legend.height + MARGIN), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN + TITLE), title, fill=INK, font=fonts[TITLE], anchor="ls")
    draw.text((WIDTH - MARGIN, MARGIN + TITLE), about, fill=FADED, font=fonts[NOTE], anchor="rs")
    for index, (panel, name, found) in enumerate(panels):
        row, column = divmod(index, columns)
        left = MARGIN + column * (width + MARGIN)
        top = header + row * row_height + caption
        picture.paste(panel, (left, top))
        baseline = top - MARGIN // 2
        draw.text((left, baseline), name, fill=INK, font=fonts[CAPTION], anchor="ls")
        draw.text((left + width, baseline), found, fill=FADED, font=fonts[NOTE], anchor="rs")
    picture.paste(legend, (MARGIN, header + rows * row_height))
    return picture
