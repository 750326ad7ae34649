"""What a panel shows, and where."""

import numpy as np
import pytest
import torch
from PIL import Image

from solq_model.draw import PALETTE
from solq_model.explain.panel import (
    BEYOND,
    Samples,
    Shapes,
    View,
    density,
    draw_heat,
    draw_points,
    mask_image,
)

SMALL = View(0.0, 0.0, 100.0, 60.0, 2.0)


@pytest.fixture
def image():
    return Image.new("RGB", (100, 60), (100, 100, 100))


@pytest.fixture
def shapes():
    """Everything in the upper left corner."""
    box = torch.tensor([2.0, 2.0, 12.0, 12.0])
    mask = torch.zeros(60, 100, dtype=torch.bool)
    mask[3:11, 3:11] = True
    return Shapes(mask=mask, box=box, reference=torch.tensor([7.0, 7.0]))


def samples(*locations, weights=None, level=0):
    weights = torch.ones(len(locations)) if weights is None else torch.tensor(weights)
    levels = torch.full((len(locations),), level)
    return Samples(locations=torch.tensor(locations), weights=weights, levels=levels)


def pixels(panel):
    return np.asarray(panel).astype(int)


def test_a_view_places_points_of_the_image_in_its_own_pixels():
    view = View(10.0, 20.0, 60.0, 50.0, 3.0)
    assert view.size == (150, 90)
    placed = view.place(torch.tensor([[10.0, 20.0], [35.0, 30.0]]))
    assert placed.tolist() == [[0.0, 0.0], [75.0, 30.0]]
    hidden = view.hides(torch.tensor([[10.0, 20.0], [9.9, 20.0], [30.0, 50.0], [59.9, 49.9]]))
    assert hidden.tolist() == [False, True, True, False]


def test_a_crop_shows_its_part_and_background_where_there_is_no_image():
    image = Image.new("RGB", (8, 2), (10, 20, 30))
    image.paste((200, 0, 0), (2, 0, 8, 2))
    part = pixels(View(5.0, -1.0, 10.0, 1.0, 10.0).crop(image, BEYOND))
    assert part.shape == (20, 50, 3)
    assert (part[10:, :30] == (200, 0, 0)).all()
    assert (part[:10] == BEYOND).all()
    assert (part[:, 30:] == BEYOND).all()


def test_a_view_beside_the_image_shows_background_only(image):
    assert (pixels(View(200.0, 0.0, 210.0, 10.0, 2.0).crop(image, BEYOND)) == BEYOND).all()


def test_a_dot_lies_at_its_place_in_the_colour_of_its_level(image, shapes):
    panel = pixels(draw_points(image, SMALL, samples([50.0, 30.0], level=2), shapes))
    assert panel.shape == (120, 200, 3)
    assert np.abs(panel[60, 100] - PALETTE[2]).max() < 20
    assert (panel[110, 190] == panel[110, 10]).all()


def test_heavy_dots_do_not_hide_light_ones(image, shapes):
    heavy = samples([50.0, 30.0], weights=[0.9])
    both = samples([50.0, 30.0], [50.0, 30.0], weights=[0.1, 0.9])
    both.levels[0] = 1
    alone, covered = (pixels(draw_points(image, SMALL, read, shapes)) for read in (heavy, both))
    change = covered[60, 100] - alone[60, 100]
    assert change[2] > 100, "from orange towards blue"
    assert change[0] < 0


def test_heat_is_greatest_where_most_is_read(image, shapes):
    read = samples([30.0, 40.0], [70.0, 40.0], weights=[0.2, 0.8])
    heat = density(SMALL, read, [(60, 100)], (60, 100))
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    assert abs(row - 80) <= 1
    assert abs(column - 140) <= 1
    assert heat[80, 60] / heat[80, 140] == pytest.approx(0.25, rel=0.01)
    panel = pixels(draw_heat(image, SMALL, read, shapes, [(60, 100)]))
    assert panel[80, 140].sum() > panel[80, 60].sum() > panel[80, 100].sum()


def test_heat_sums_to_the_weight_and_is_as_wide_as_a_cell():
    read = samples([50.0, 30.0], weights=[0.6])
    fine = density(SMALL, read, [(30, 50), (6, 10)], (60, 100))
    read.levels[0] = 1
    coarse = density(SMALL, read, [(30, 50), (6, 10)], (60, 100))
    for heat in (fine, coarse):
        assert heat.sum().item() == pytest.approx(0.6, rel=0.01)
    columns = torch.arange(200) + 0.5 - 100
    deviation = (coarse.sum(0) / coarse.sum() * columns**2).sum().sqrt()
    assert deviation.item() == pytest.approx(20 / 6**0.5, rel=0.02)  # cells of 10 x 10, twice
    assert fine.max() > 5 * coarse.max()


def test_cells_that_are_not_square_spread_heat_along_their_longer_side():
    heat = density(SMALL, samples([50.0, 30.0]), [(12, 5)], (60, 100))
    assert heat[60, 120] > 2 * heat[80, 100]


def test_box_reference_and_mask_are_outlined(image):
    mask = torch.zeros(60, 100, dtype=torch.bool)
    mask[20:40, 60:80] = True
    box, reference = torch.tensor([50.0, 10.0, 90.0, 50.0]), torch.tensor([20.0, 30.0])
    none = samples([1.0, 1.0], weights=[0.0])
    shapes = Shapes(mask=mask, box=box, reference=reference)
    bright = pixels(draw_points(image, SMALL, none, shapes)).min(-1) > 180
    assert bright[20, 110:170].all()  # the upper side of the box
    assert bright[60, 40]  # the cross
    assert bright[60, 118:124].any()  # the left side of the mask
    assert not bright[60, 130:150].any()
    without = Shapes(mask=None, box=box, reference=reference)
    assert not (pixels(draw_points(image, SMALL, none, without)).min(-1) > 180)[60, 118:124].any()


def test_a_mask_image_is_white_inside():
    picture = mask_image(torch.tensor([[True, False]]))
    assert np.asarray(picture).tolist() == [[255, 0]]
