"""Patterns: between 0 and 1, smooth where they should be."""

from __future__ import annotations

import numpy as np
import pytest

from solq_train.data.textures import noise_pattern, surface_pattern


@pytest.mark.parametrize("size", [32, 128, 150])
def test_noise_fills_the_range_smoothly(size: int) -> None:
    noise = noise_pattern(np.random.default_rng(0), size)
    assert noise.shape == (size, size)
    assert noise.dtype == np.float32
    assert (noise.min(), noise.max()) == (0.0, 1.0)
    assert np.abs(np.diff(noise, axis=0)).max() < 16 / size


def test_surfaces_stay_in_the_range_and_are_not_flat() -> None:
    rng = np.random.default_rng(0)
    for index in range(60):
        pattern = surface_pattern(rng, 64)
        assert pattern.dtype == np.float32, index
        assert pattern.shape == (64, 64), index
        assert pattern.min() >= 0, index
        assert pattern.max() <= 1, index
        assert np.ptp(pattern) > 0.3, index
