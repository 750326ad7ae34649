"""Pictures: what is in them, in which colours, and that they come out the same."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from solq_maskcodec import DCTMaskCodec, mask_quality
from solq_maskcodec.dataset.annotations import read_annotations
from solq_maskcodec.dataset.comparison import compare_codecs
from solq_maskcodec.dataset.figures import (
    FORMATS,
    BoxedMask,
    coefficients_figure,
    comparison_figure,
    mask_figure,
    save_figure,
)

_STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture
def boxed(blobs):
    return BoxedMask(mask=blobs(1, 64)[0], box_size=(40, 80))


def texts_of(figure):
    parts = [axes.get_title() for axes in figure.axes]
    parts += [axes.get_xlabel() for axes in figure.axes]
    parts += [axes.get_ylabel() for axes in figure.axes]
    return [part for part in parts if part]


def colors_of(axes):
    """How many pixels of the image have which colour."""
    pixels = np.asarray(axes.images[0].get_array()).reshape(-1, 3)
    colors, counts = np.unique(np.round(pixels, 6), axis=0, return_counts=True)
    return {tuple(color): int(count) for color, count in zip(colors.tolist(), counts, strict=True)}


def in_color(axes, color):
    return colors_of(axes).get(tuple(np.round(to_rgb(color), 6).tolist()), 0)


def test_the_picture_of_lengths_has_a_row_of_each_kind_and_the_iou_under_each(boxed):
    figure = coefficients_figure(boxed, [16, 64, 256], [0, 10])
    assert len(figure.axes) == 1 + 2 * 3
    texts = texts_of(figure)
    for words in ("mask", "16", "64", "256", "plain", "refine=10"):
        assert words in texts
    for rounds in (0, 10):
        for number in (16, 64, 256):
            codec = DCTMaskCodec(number, 64, 0.5)
            iou = float(mask_quality(codec, boxed.mask, refine=rounds).iou)
            assert f"IoU {iou:.3f}" in texts


def test_errors_have_their_colours(boxed):
    figure = mask_figure(boxed, 16, 0, "a mask")
    codec = DCTMaskCodec(16, 64, 0.5)
    decoded = codec.decode(codec.encode(boxed.mask))
    error = figure.axes[3]
    missing, extra = (boxed.mask & ~decoded).sum(), (decoded & ~boxed.mask).sum()
    assert error.get_title() == f"{missing} missing, {extra} extra"
    assert in_color(error, "#d55e00") == missing > 0
    assert in_color(error, "#0072b2") == extra > 0
    assert in_color(error, "#b4b4b4") == (boxed.mask & decoded).sum()


def test_the_picture_of_a_mask_names_what_it_shows(boxed):
    figure = mask_figure(boxed, 100, 5, "annotation 7")
    assert figure.get_suptitle() == "annotation 7"
    texts = texts_of(figure)
    assert "mask, 64x64" in texts
    assert "100 coefficients, refine=5" in texts
    corner = figure.axes[1].images[0].get_array()
    assert np.isfinite(np.ma.filled(corner, np.nan)).sum() == 100


@pytest.mark.parametrize("fill", [False, True])
def test_empty_and_full_masks_have_pictures_too(fill, tmp_path):
    boxed = BoxedMask(mask=np.full((32, 32), fill), box_size=(1, 1000))
    save_figure(mask_figure(boxed, 16, 0, "constant"), tmp_path / "one.png")
    save_figure(coefficients_figure(boxed, [16], [0]), tmp_path / "two.png")


def test_pictures_have_the_shape_of_the_box(boxed):
    assert boxed.aspect == 0.5
    assert BoxedMask(mask=boxed.mask, box_size=(500, 1)).aspect == 3
    axes = coefficients_figure(boxed, [16, 64], [0]).axes[1]
    width, height = axes.figure.get_size_inches()
    place = axes.get_position()
    assert place.height * height == pytest.approx(0.5 * place.width * width)


@pytest.mark.parametrize("box_size", [(60, 60), (30, 80), (90, 30)])
@pytest.mark.parametrize(
    ("num_coefficients", "refine"),
    [([16, 32, 64, 128, 256, 512, 1024], [0, 10]), ([64, 256], [0]), ([256], [0, 1, 2])],
)
def test_nothing_of_a_picture_lies_on_something_else(blobs, box_size, num_coefficients, refine):
    boxed = BoxedMask(mask=blobs(1, 32)[0], box_size=box_size)
    figure = coefficients_figure(boxed, num_coefficients, refine)
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes += [text.get_window_extent() for text in figure.texts]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    for index, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
        for other in boxes[:index]:
            assert not box.shrunk(0.99, 0.99).overlaps(other)


@pytest.mark.parametrize("ending", FORMATS)
def test_the_ending_is_the_format_and_the_bytes_are_the_same_each_time(boxed, tmp_path, ending):
    for name in ("one", "two"):
        save_figure(coefficients_figure(boxed, [16], [0]), tmp_path / f"{name}{ending}")
    content = (tmp_path / f"one{ending}").read_bytes()
    assert content.startswith(_STARTS[ending])
    assert (tmp_path / f"two{ending}").read_bytes() == content


def test_curves_show_every_codec_for_all_and_by_size(annotations):
    comparison = compare_codecs(
        read_annotations(annotations), ["dct", "efd"], [16, 64], refine=[0, 5], mask_size=32
    )
    figure = comparison_figure(comparison)
    assert len(figure.axes) == 8
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["DCT", "DCT, refine=5", "elliptic Fourier"]
    first = figure.axes[0].lines[1]
    np.testing.assert_array_equal(first.get_xdata(), [16, 64])
    expected = [row.quality.all.iou for row in comparison.codecs if row.refine]
    np.testing.assert_array_equal(first.get_ydata(), expected)
    assert len({line.get_color() for line in figure.axes[0].lines}) == 3
    assert "4 objects" in texts_of(figure)


def test_drawing_leaves_pyplot_alone():
    script = "import sys, solq_maskcodec.dataset.figures; print('matplotlib.pyplot' in sys.modules)"
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
