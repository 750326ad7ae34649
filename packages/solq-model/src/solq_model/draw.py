"""Instances → a picture: masks, boxes and labels painted over the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from solq_model.atomic import atomic_file
from solq_model.images import to_picture, to_tensor

# Okabe and Ito's colours (2008) without black, then five more, each the farthest from all before it
# in CIELAB as normal and as (Machado et al. 2009) protan, deutan and tritan eyes see it.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
    (160, 255, 160),
    (128, 0, 255),
    (255, 170, 187),
    (136, 34, 85),
    (120, 80, 220),
)

COMFORTABLE_SIDE = 512  # pixels; smaller pictures are enlarged by a whole factor to about this
CROWDED = 12  # with more instances the letters become smaller


def draw_instances(
    image: Image.Image | UInt8[Tensor, "3 height width"],
    masks: Bool[Tensor, "instances height width"] | None,
    boxes: Float[Tensor, "instances 4"],
    labels: Sequence[str],
    *,
    colors: Sequence[int] | None = None,
    alpha: float = 0.5,
    scale: int | None = None,
) -> Image.Image:
    """The image under its instances: filled and outlined masks (None: none), boxes, labels.

    Boxes are (x0, y0, x1, y1) in pixels. `colors` numbers the palette's colour of each instance
    (its category, say); by default each instance has the next one. `scale` enlarges the picture;
    by default small images grow by a whole factor and others keep their size.
    """
    pixels = to_tensor(image.convert("RGB")) if isinstance(image, Image.Image) else image.cpu()
    boxes = boxes.detach().float().cpu()
    if masks is None:
        masks = torch.zeros(len(labels), *pixels.shape[1:], dtype=torch.bool)
    masks = masks.cpu()
    colors = range(len(labels)) if colors is None else colors
    _check(pixels, masks, boxes, labels, colors, alpha)
    height, width = pixels.shape[1:]
    scale = _comfortable_scale((height, width)) if scale is None else scale
    if scale < 1:
        msg = f"scale must be at least 1, got {scale}"
        raise ValueError(msg)
    canvas = to_picture(pixels).resize((width * scale, height * scale), Image.Resampling.BICUBIC)
    line = max(1, round(min(canvas.size) / 240))
    painted = _paint_masks(canvas, masks, colors, alpha=alpha, scale=scale, line=line)
    _draw_boxes(painted, boxes * scale, labels, colors, line=line)
    return painted


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write an image file; the ending of its name chooses the format."""
    image_format = picture_format(path)
    with atomic_file(path) as temporary:
        picture.save(temporary, format=image_format)


def picture_format(path: Path) -> str:
    """The image format that a file's ending stands for."""
    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format not in Image.SAVE:  # some formats can only be read
        msg = f"path {path}: the ending must be that of an image format such as .png or .jpg"
        raise ValueError(msg)
    return image_format


def _check(
    pixels: Tensor,
    masks: Tensor,
    boxes: Tensor,
    labels: Sequence[str],
    colors: Sequence[int],
    alpha: float,
) -> None:
    if pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.dtype != torch.uint8:
        msg = f"image must be uint8 [3, height, width], got {pixels.dtype} {tuple(pixels.shape)}"
        raise ValueError(msg)
    num_instances = len(labels)
    expected_masks = (num_instances, *pixels.shape[1:])
    if tuple(masks.shape) != expected_masks:
        msg = f"masks must have the shape {expected_masks}, got {tuple(masks.shape)}"
        raise ValueError(msg)
    if tuple(boxes.shape) != (num_instances, 4):
        msg = f"boxes must have the shape {(num_instances, 4)}, got {tuple(boxes.shape)}"
        raise ValueError(msg)
    if len(colors) != num_instances:
        msg = f"colors must number {num_instances} instances, got {len(colors)}"
        raise ValueError(msg)
    if not 0 <= alpha <= 1:
        msg = f"alpha must be between 0 and 1, got {alpha}"
        raise ValueError(msg)


def _comfortable_scale(image_size: tuple[int, int]) -> int:
    return max(1, round(COMFORTABLE_SIDE / max(image_size)))


def _paint_masks(
    canvas: Image.Image,
    masks: Bool[Tensor, "instances height width"],
    colors: Sequence[int],
    *,
    alpha: float,
    scale: int,
    line: int,
) -> Image.Image:
    """The canvas under filled and outlined masks, large ones first: none hides a small one."""
    painted = to_tensor(canvas).float()
    for index in masks.flatten(1).sum(1).argsort(descending=True, stable=True).tolist():
        if not masks[index].any():
            continue
        mask, (top, left) = _enlarged_region(masks[index], scale, line)
        region = painted[:, top : top + mask.shape[0], left : left + mask.shape[1]]
        color = torch.tensor(_color(colors[index]), dtype=region.dtype)[:, None, None]
        region.copy_(torch.where(mask, torch.lerp(region, color, alpha), region))
        region.copy_(torch.where(outline(mask, line), color, region))
    return to_picture(painted.round().to(torch.uint8))


def outline(mask: Bool[Tensor, "height width"], line: int) -> Bool[Tensor, "height width"]:
    """The pixels of the mask that lie within `line` pixels of its border."""
    inside = -F.max_pool2d(-mask[None].float(), 2 * line + 1, stride=1, padding=line)[0] > 0
    return mask & ~inside


def _enlarged_region(
    mask: Bool[Tensor, "height width"], scale: int, margin: int
) -> tuple[Bool[Tensor, "region_height region_width"], tuple[int, int]]:
    """The enlarged mask around its pixels only, and the place (top, left) of that region."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    top, left = max(int(rows[0]) - margin, 0), max(int(columns[0]) - margin, 0)
    region = mask[top : int(rows[-1]) + 1 + margin, left : int(columns[-1]) + 1 + margin]
    soft = region[None, None].float()
    if scale > 1:
        soft = F.interpolate(soft, scale_factor=scale, mode="bilinear", align_corners=False)
    return soft[0, 0] >= 0.5, (top * scale, left * scale)


def _draw_boxes(
    canvas: Image.Image,
    boxes: Float[Tensor, "instances 4"],
    labels: Sequence[str],
    colors: Sequence[int],
    *,
    line: int,
) -> None:
    """Draws the boxes, then the labels on top, each where it hides no earlier label if possible."""
    draw = ImageDraw.Draw(canvas)
    letters_per_side = 34 if len(labels) <= CROWDED else 42
    font = ImageFont.load_default(size=max(11, round(min(canvas.size) / letters_per_side)))
    corners = [_pixel_corners(box, canvas.size) for box in boxes.tolist()]
    for corner, number in zip(corners, colors, strict=True):
        draw.rectangle(corner, outline=_color(number), width=line)
    taken: list[tuple[float, float, float, float]] = []
    for corner, label, number in zip(corners, labels, colors, strict=True):
        if not label:
            continue
        place = _label_place(draw, font, label, corner, canvas.size, taken)
        taken.append(place)
        color = _color(number)
        draw.rounded_rectangle(place, radius=3, fill=color, outline=_text_color(color))
        center = ((place[0] + place[2]) / 2, (place[1] + place[3]) / 2)
        draw.text(center, label, fill=_text_color(color), font=font, anchor="mm")


def _pixel_corners(box: list[float], canvas_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """First and last pixel of the box on the canvas, at least one pixel."""
    width, height = canvas_size
    left = min(max(math.floor(box[0]), 0), width - 1)
    top = min(max(math.floor(box[1]), 0), height - 1)
    right = min(max(math.ceil(box[2]) - 1, left), width - 1)
    bottom = min(max(math.ceil(box[3]) - 1, top), height - 1)
    return left, top, right, bottom


def _label_place(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    label: str,
    corner: tuple[int, int, int, int],
    canvas_size: tuple[int, int],
    taken: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float, float, float]:
    """Above the box, else inside its top, below, inside its bottom, right, left: the first free."""
    x0, _, x1, _ = draw.textbbox((0, 0), label, font=font)
    width, height = x1 - x0 + 8, draw.textbbox((0, 0), "Ag", font=font)[3] + 4
    left, top, right, bottom = corner
    candidates = (
        (left, top - height),
        (left, top),
        (left, bottom + 1),
        (left, bottom - height),
        (right + 1, top),
        (left - width, top),
    )
    places = []
    for x, y in candidates:
        x_inside = max(0, min(x, canvas_size[0] - width - 1))
        y_inside = max(0, min(y, canvas_size[1] - height - 1))
        places.append((x_inside, y_inside, x_inside + width, y_inside + height))
    free = (place for place in places if not any(_overlap(place, other) for other in taken))
    return next(free, places[0])


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _color(number: int) -> tuple[int, int, int]:
    return PALETTE[number % len(PALETTE)]


def _text_color(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever is read better: the W3C's relative luminance, cut at 0.18."""
    linear = [((c / 255 + 0.055) / 1.055) ** 2.4 for c in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if luminance > 0.18 else (255, 255, 255)
