"""Masks and what codecs keep of them → pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from ..atomic import atomic_file
from ..codecs.dct_codec import DCTMaskCodec
from ..codecs.zigzag import zigzag_corner
from ..overlap import intersection_over_union
from .comparison import ComparedCodec, Comparison

FORMATS = (".png", ".svg", ".pdf")

# Okabe and Ito (2008): told apart by the colour-blind too, and in grey by their lightness.
_KEPT, _MISSING, _EXTRA = "#b4b4b4", "#d55e00", "#0072b2"
_MASK = "#444444"
_LINES = (
    ("#0072b2", "o"),
    ("#d55e00", "s"),
    ("#009e73", "^"),
    ("#cc79a7", "D"),
    ("#56b4e9", "v"),
    ("#e69f00", "P"),
)
# The mask's width beside rows of reconstructions, as a multiple of theirs; and theirs in inches.
_ORIGINAL, _WIDEST = 1.4, 1.6
_WIDTH, _DOTS = 9.0, 200  # inches and dots an inch: sharp where a page shows it 900 pixels wide


def save_figure(figure: Figure, path: Path) -> None:
    """Write the picture in the format of its ending, the same bytes each time."""
    no_date: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    kind = path.suffix.lower()
    # Without salt, the ids in an SVG are random.
    with rc_context({"svg.hashsalt": ""}), atomic_file(path) as temporary:
        figure.savefig(temporary, format=kind[1:], dpi=_DOTS, metadata=no_date.get(kind))


def comparison_figure(comparison: Comparison) -> Figure:
    """Curves over the number of coefficients: IoU in the box and oracle AP, of all and by size."""
    figure = Figure(figsize=(_WIDTH + 1.5, 6), layout="constrained")
    figure.suptitle(comparison.caption(), fontsize=9, wrap=True)
    all_axes = figure.subplots(2, 4, sharex=True, sharey="row")
    for row, (field, words) in enumerate((("iou", "mean IoU in the box"), ("ap", "oracle AP"))):
        for column, size in enumerate(("all", "small", "medium", "large")):
            axes = all_axes[row, column]
            _draw_curves(axes, comparison.codecs, size, field)
            count = getattr(comparison.codecs[0].quality, size).num_objects
            axes.set_title(f"{count} objects" if size == "all" else f"{count} {size}", fontsize=9)
        all_axes[row, 0].set_ylabel(words, fontsize=9)
    for axes in all_axes[-1]:
        axes.set_xlabel("coefficients", fontsize=9)
    handles, names = all_axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9
    )
    return figure


def _draw_curves(axes: Axes, codecs: Sequence[ComparedCodec], size: str, field: str) -> None:
    names = dict.fromkeys(row.name for row in codecs)
    for index, name in enumerate(names):
        rows = [row for row in codecs if row.name == name]
        color, marker = _LINES[index % len(_LINES)]
        axes.plot(
            [row.num_coefficients for row in rows],
            [getattr(getattr(row.quality, size), field) for row in rows],
            color=color,
            marker=marker,
            markersize=4,
            linewidth=1.5,
            linestyle="-" if index < len(_LINES) else "--",
            label=name,
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="x", rotation=45)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


@dataclass(frozen=True, kw_only=True)
class BoxedMask:
    """A mask in its box, bool [size, size], and the box's (height, width) in the image."""

    mask: NDArray[np.bool_]
    box_size: tuple[float, float]

    @property
    def aspect(self) -> float:
        """Height of the box as a multiple of its width, kept within what a picture can show."""
        return float(np.clip(self.box_size[0] / self.box_size[1], 1 / 3, 3))


def coefficients_figure(
    boxed: BoxedMask, num_coefficients: Sequence[int], refine: Sequence[int]
) -> Figure:
    """A mask, and what is left of it at each number of coefficients, with the foreground IoU.

    A row for each number of refining rounds, a column for each number of coefficients.
    """
    left, gap, above, line = 0.3, 0.06, 0.5, 0.28  # inches
    num_columns = len(num_coefficients)
    larger = _ORIGINAL if len(refine) > 1 else 1
    width = min((_WIDTH - left - gap * (num_columns + 1)) / (num_columns + larger), _WIDEST)
    height = width * boxed.aspect
    pitch = max(height + line, 0.75)  # the name of a row has to fit beside it
    bottom = above + len(refine) * pitch
    x0 = gap + larger * width + left
    right = x0 + num_columns * (width + gap)
    figure = Figure(figsize=(right, bottom + 0.35))
    y0 = (above + bottom - line - larger * height) / 2
    original = _axes_at(figure, gap, y0, larger * width, larger * height)
    _draw_picture(original, _filled(boxed.mask, _MASK), boxed.aspect)
    original.set_title("mask", fontsize=10)
    for row, rounds in enumerate(refine):
        for column, number in enumerate(num_coefficients):
            y = above + row * pitch
            axes = _axes_at(figure, x0 + column * (width + gap), y, width, height)
            decoded, iou = _decoded(boxed.mask, number, rounds)
            _draw_picture(axes, _errors(boxed.mask, decoded), boxed.aspect)
            axes.set_xlabel(f"IoU {iou:.3f}", fontsize=9, labelpad=2)
            if row == 0:
                axes.set_title(f"{number}", fontsize=10, pad=4)
            if column == 0:
                words = f"refine={rounds}" if rounds else "plain"
                axes.set_ylabel(words, fontsize=10, labelpad=4)
    middle, top = (x0 + right - gap) / 2 / right, 1 - 0.06 / (bottom + 0.35)
    figure.text(middle, top, "coefficients", ha="center", va="top")
    figure.legend(handles=_legend(), loc="lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _axes_at(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Axes of this size at this place, in inches from the top left corner."""
    all_width, all_height = figure.get_size_inches()
    bottom = 1 - (y + height) / all_height
    return figure.add_axes((x / all_width, bottom, width / all_width, height / all_height))


def mask_figure(boxed: BoxedMask, num_coefficients: int, refine: int, title: str) -> Figure:
    """A mask, its coefficients, its reconstruction, and the error, side by side."""
    decoded, iou = _decoded(boxed.mask, num_coefficients, refine)
    figure = Figure(figsize=(_WIDTH, 2.1 * min(boxed.aspect, 1.6) + 1.2), layout="constrained")
    figure.suptitle(title, fontsize=10)
    original, spectrum, result, error = figure.subplots(1, 4)
    size = len(boxed.mask)
    _draw_picture(original, _filled(boxed.mask, _MASK), boxed.aspect)
    original.set_title(f"mask, {size}x{size}", fontsize=9)
    _draw_spectrum(figure, spectrum, boxed.mask, num_coefficients, refine)
    _draw_picture(result, _filled(decoded, _MASK), boxed.aspect)
    result.set_title(f"reconstruction, IoU {iou:.3f}", fontsize=9)
    _draw_picture(error, _errors(boxed.mask, decoded), boxed.aspect)
    missing, extra = int((boxed.mask & ~decoded).sum()), int((decoded & ~boxed.mask).sum())
    error.set_title(f"{missing} missing, {extra} extra", fontsize=9)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _draw_spectrum(
    figure: Figure, axes: Axes, mask: NDArray[np.bool_], num_coefficients: int, refine: int
) -> None:
    """The corner of the spectrum that is kept, magnitudes on a logarithmic scale."""
    codec = DCTMaskCodec(num_coefficients, len(mask))
    rows, columns, order = zigzag_corner(len(mask), num_coefficients)
    magnitudes = np.full(rows * columns, np.nan)
    # What is smaller than 0.01 is drawn as 0.01: no such coefficient changes a pixel.
    magnitudes[order] = np.log10(np.maximum(np.abs(codec.encode(mask, refine=refine)), 0.01))
    image = axes.imshow(magnitudes.reshape(rows, columns), cmap="viridis", vmin=-2)
    words = f", refine={refine}" if refine else ""
    axes.set_title(f"{num_coefficients} coefficients{words}", fontsize=9)
    axes.tick_params(labelsize=7)
    axes.set_xlabel("frequency", fontsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    bar.set_label("log10 of magnitude", fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _decoded(
    mask: NDArray[np.bool_], num_coefficients: int, refine: int
) -> tuple[NDArray[np.bool_], float]:
    """The mask after encode and decode, and its foreground IoU."""
    codec = DCTMaskCodec(num_coefficients, len(mask), 0.5)
    decoded = codec.decode(codec.encode(mask, refine=refine))
    return decoded, float(intersection_over_union(decoded, mask))


def _filled(mask: NDArray[np.bool_], color: str) -> NDArray[np.float64]:
    """The mask in this colour on white, [size, size, 3]."""
    return np.where(mask[..., None], to_rgb(color), 1.0)


def _errors(mask: NDArray[np.bool_], decoded: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pixels kept, missing and extra in their colours on white, [size, size, 3]."""
    image = _filled(mask & decoded, _KEPT)
    image[mask & ~decoded] = to_rgb(_MISSING)
    image[decoded & ~mask] = to_rgb(_EXTRA)
    return image


def _legend() -> list[Patch]:
    named = (("kept", _KEPT), ("missing", _MISSING), ("extra", _EXTRA))
    return [Patch(color=color, label=name) for name, color in named]


def _draw_picture(axes: Axes, image: NDArray[np.float64], aspect: float) -> None:
    axes.imshow(image, aspect=aspect, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#cccccc")
        spine.set_linewidth(0.6)
