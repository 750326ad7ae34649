"""What the legend says."""

import pytest
import torch

from solq_model.explain.legend import (
    LINE,
    Entry,
    beyond_entries,
    draw_legend,
    heat_entries,
    level_entries,
    shape_entries,
    weight_entries,
)
from solq_model.explain.panel import Samples, View


@pytest.fixture
def samples():
    return Samples(
        locations=torch.tensor([[10.0, 10.0], [110.0, 10.0], [50.0, -3.0]]),
        weights=torch.tensor([0.5, 1.0, 0.5]),
        levels=torch.tensor([0, 2, 2]),
    )


def texts(entries):
    return [entry.text for entry in entries]


def test_levels_have_their_stride_and_their_share_of_the_weights(samples):
    entries = level_entries((8, 16, 32), samples, dots=True)
    assert texts(entries) == ["level 0 (stride 8): 25%", "level 2 (stride 32): 75%"]
    assert all(entry.sign is not None for entry in entries)
    assert all(entry.sign is None for entry in level_entries((8, 16, 32), samples, dots=False))


def test_only_the_lines_that_are_drawn_are_explained():
    everything = shape_entries(points=True, boxes=True, mask=True)
    assert len(everything) == 4
    assert texts(shape_entries(points=False, boxes=True, mask=False)) == [
        "where it starts",
        "box after the layer",
    ]


def test_places_beyond_the_panel_and_outside_of_the_image_are_noted(samples):
    whole = View(-10.0, -10.0, 120.0, 110.0, 1.0)
    assert texts(beyond_entries(samples, whole, (100, 100), dots=True)) == [
        "2 of 3 places outside of the image"
    ]
    part = View(0.0, 0.0, 100.0, 100.0, 1.0)
    assert texts(beyond_entries(samples, part, (100, 200), dots=True)) == [
        "beyond the panel",
        "1 of 3 places outside of the image",
    ]
    assert beyond_entries(samples, whole, (100, 100), dots=False) != []
    inside = Samples(
        locations=samples.locations[:1], weights=samples.weights[:1], levels=samples.levels[:1]
    )
    assert beyond_entries(inside, part, (100, 100), dots=True) == []


def test_entries_that_do_not_fit_go_on_in_the_next_line():
    entries = [Entry(f"a long entry with the number {number}") for number in range(8)]
    assert draw_legend(3000, [entries]).size == (3000, LINE)
    assert draw_legend(700, [entries]).height == 3 * LINE
    assert draw_legend(100, [entries[:3], []]).height == 4 * LINE


def test_all_signs_can_be_drawn(samples):
    rows = [
        [*level_entries((8, 16, 32), samples, dots=True), *weight_entries(), *heat_entries()],
        [
            *shape_entries(points=True, boxes=True, mask=True),
            *beyond_entries(samples, View(0.0, 0.0, 9.0, 9.0, 1.0), (9, 9), dots=True),
        ],
    ]
    colors = draw_legend(900, rows).getcolors(100_000)
    assert len(colors) > 50
