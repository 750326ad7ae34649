"""Random grey patterns between 0 and 1, for the surfaces of scenes."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float32

Pattern = Float32[np.ndarray, "height width"]

_OCTAVES = ((5, 0.55), (9, 0.3), (17, 0.15))  # cells along a side, share


def noise_pattern(rng: np.random.Generator, size: int) -> Pattern:
    """Clouds: smooth noise of three octaves, stretched to the whole range."""
    clouds = np.zeros((size, size), dtype=np.float32)
    for num_cells, share in _OCTAVES:
        weights = _interpolation(num_cells, size)
        cells = rng.random((num_cells, num_cells), dtype=np.float32)
        clouds += share * (weights @ cells @ weights.T)
    clouds -= clouds.min()
    return clouds / clouds.max()


def surface_pattern(rng: np.random.Generator, size: int) -> Pattern:
    """One of clouds, stripes, checks, dots and a gradient, at any angle and of any fineness."""
    name = rng.choice(["clouds", "stripes", "checks", "dots", "gradient"])
    if name == "clouds":
        return noise_pattern(rng, size)
    angle, phase = rng.uniform(0, 2 * np.pi, size=2)
    wave_length = rng.uniform(6, 14) * size / 128
    along, across = _turned_axes(size, float(angle))
    if name == "gradient":
        return 0.5 + 0.5 * np.sin(along * np.float32(np.pi / (size / 2)) + np.float32(phase))
    first = np.sin(along * np.float32(2 * np.pi / wave_length) + np.float32(phase))
    if name == "stripes":
        return 0.5 + 0.5 * first
    second = np.sin(across * np.float32(2 * np.pi / wave_length))
    if name == "checks":
        return (first * second > 0).astype(np.float32)
    return (first + second > 0.8).astype(np.float32)


def _turned_axes(size: int, angle: float) -> tuple[Pattern, Pattern]:
    """Every pixel's place along two axes at right angles."""
    line = np.arange(size, dtype=np.float32) - size / 2
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * line[None, :] + sin * line[:, None], cos * line[:, None] - sin * line[None, :]


@cache
def _interpolation(num_cells: int, size: int) -> Float32[np.ndarray, "size cells"]:
    """Weights that stretch values of cells over pixels, smoothly (cosine steps between cells)."""
    places = np.linspace(0, num_cells - 1, size, dtype=np.float32)
    left = np.minimum(places.astype(np.int64), num_cells - 2)
    share = 0.5 - 0.5 * np.cos(np.pi * (places - left))
    weights = np.zeros((size, num_cells), dtype=np.float32)
    weights[np.arange(size), left] = 1 - share
    weights[np.arange(size), left + 1] = share
    return weights
