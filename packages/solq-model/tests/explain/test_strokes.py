"""Dots, rings, crosses, frames and colours."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from solq_model.explain.strokes import (
    FINER,
    HEAT,
    LARGEST_DOT,
    WHITE,
    draw_cross,
    draw_dot,
    draw_frame,
    heat_colors,
)

SIDE = 40 * FINER
RED = (255, 0, 0)


@pytest.fixture
def canvas():
    return Image.new("RGB", (SIDE, SIDE))


def painted(canvas):
    return (np.asarray(canvas).max(-1) > 0).sum()


def test_the_area_of_a_dot_is_in_proportion_to_its_weight(canvas):
    areas = []
    for weight in (0.25, 1.0):
        fresh = canvas.copy()
        draw_dot(ImageDraw.Draw(fresh, "RGBA"), (SIDE / 2, SIDE / 2), weight, WHITE)
        areas.append((np.asarray(fresh)[..., 0] > 200).sum())
    assert areas[1] / areas[0] == pytest.approx(4, rel=0.1)
    assert areas[1] == pytest.approx(np.pi * (LARGEST_DOT * FINER) ** 2, rel=0.1)


def test_dots_of_little_weight_are_transparent_but_there(canvas):
    draw_dot(ImageDraw.Draw(canvas, "RGBA"), (SIDE / 2, SIDE / 2), 0.0, RED)
    assert 60 < np.asarray(canvas)[SIDE // 2, SIDE // 2, 0] < 120


@pytest.mark.parametrize("center", [(-500, SIDE / 2), (SIDE / 2, SIDE), (1e6, -1e6)])
def test_a_dot_outside_of_the_canvas_is_a_ring_at_its_border(canvas, center):
    draw_dot(ImageDraw.Draw(canvas, "RGBA"), center, 0.25, RED, within=canvas.size)
    radius = round(LARGEST_DOT * FINER / 2)
    x, y = (min(max(round(value), radius), SIDE - 1 - radius) for value in center)
    pixels = np.asarray(canvas)[..., 0]
    assert pixels[y, x] == 0
    assert pixels[y, x - radius] > 200
    assert pixels[y, x + radius] > 200


def test_a_cross_marks_its_centre(canvas):
    draw_cross(ImageDraw.Draw(canvas), (SIDE / 2, SIDE / 2))
    assert canvas.getpixel((SIDE // 2, SIDE // 2)) == WHITE
    assert canvas.getpixel((2, 2)) == (0, 0, 0)


def test_a_dashed_frame_has_gaps_and_a_solid_one_has_none(canvas):
    corners = [[10.0, 20.0], [100.0, 90.0]]
    solid, dashed = canvas.copy(), canvas.copy()
    draw_frame(ImageDraw.Draw(solid), corners, dashed=False)
    draw_frame(ImageDraw.Draw(dashed), corners, dashed=True)
    assert (np.asarray(solid)[20, 10:101] == 255).all()
    on_the_line = (np.asarray(dashed)[20, 10:101, 0] == 255).mean()
    assert 0.3 < on_the_line < 0.7
    assert painted(dashed) < painted(solid)


def test_a_frame_of_no_size_is_drawn_without_an_error(canvas):
    for dashed in (False, True):
        draw_frame(ImageDraw.Draw(canvas), [[5.0, 5.0], [5.0, 5.0]], dashed=dashed)


def test_heat_goes_from_the_first_colour_to_the_last_and_becomes_lighter():
    colors = heat_colors(torch.linspace(0, 1, 9))
    assert colors[0].tolist() == list(HEAT[0])
    assert colors[-1].tolist() == list(HEAT[-1])
    assert colors[2].tolist() == list(HEAT[1])
    lightness = colors @ torch.tensor([0.2126, 0.7152, 0.0722])
    assert (lightness.diff() > 0).all()
