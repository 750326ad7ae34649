"""Outlines: sizes, areas, gaps and holes."""

from __future__ import annotations

import numpy as np
import pytest

from solq_train.data.outlines import Kind, draw_outline

CENTER = np.array([60.0, 50.0])
KINDS: tuple[Kind, ...] = ("blob", "star", "ring")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_no_point_is_further_out_than_the_radius(kind: Kind, seed: int) -> None:
    outline = draw_outline(np.random.default_rng(seed), kind, CENTER, 20.0)
    (points,) = outline.polygons
    distances = np.linalg.norm(points - CENTER, axis=1)
    assert distances.max() <= 20.0 + 1e-9, f"seed {seed}"
    assert distances.max() >= 16.0, f"seed {seed}"


def test_only_rings_have_a_hole_and_it_is_inside() -> None:
    rng = np.random.default_rng(0)
    assert draw_outline(rng, "blob", CENTER, 20.0).hole is None
    assert draw_outline(rng, "star", CENTER, 20.0).hole is None
    ring = draw_outline(rng, "ring", CENTER, 20.0)
    assert ring.hole is not None
    inner = np.linalg.norm(ring.hole - CENTER, axis=1)
    assert (inner < np.linalg.norm(ring.polygons[0] - CENTER, axis=1)).all()


def test_area_of_a_ring_is_without_its_hole() -> None:
    ring = draw_outline(np.random.default_rng(0), "ring", CENTER, 20.0)
    assert 0.5 * np.pi * 14**2 < ring.area < (1 - 0.42**2) * np.pi * 20**2


def test_area_of_a_star_is_that_of_its_ten_triangles() -> None:
    star = draw_outline(np.random.default_rng(3), "star", CENTER, 20.0)
    inner = np.linalg.norm(star.polygons[0] - CENTER, axis=1).min()
    assert star.area == pytest.approx(10 * 0.5 * 20 * inner * np.sin(np.pi / 5))


@pytest.mark.parametrize("kind", ["blob", "star"])
@pytest.mark.parametrize("seed", range(5))
def test_a_gap_makes_two_parts_that_far_apart(kind: Kind, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = draw_outline(np.random.default_rng(seed), kind, CENTER, 30.0)
    split = draw_outline(rng, kind, CENTER, 30.0, gap=6.0)
    first, second = split.polygons
    apart = np.linalg.norm(first[:, None] - second[None], axis=-1).min()
    assert apart >= 6.0 - 1e-9, f"seed {seed}"
    assert 0.5 * whole.area < split.area < whole.area, f"seed {seed}"


def test_the_same_seed_draws_the_same_outline() -> None:
    first, second = (draw_outline(np.random.default_rng(4), "blob", CENTER, 20.0) for _ in range(2))
    np.testing.assert_array_equal(first.polygons[0], second.polygons[0])
