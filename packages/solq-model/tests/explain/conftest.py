"""An explanation made by hand, whose every number is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from solq_model import Categories, Category
from solq_model.explain import Explanation

CAT, DOG = Category(5, "cat", 0), Category(9, "dog", 1)
GREY = (100, 100, 100)


@pytest.fixture
def make_explanation() -> Callable[..., Explanation]:
    """An image of 200 x 120, 2 layers, 1 head, levels of stride 8 and 16, 2 points.

    The first layer starts from a point and reads the coarse level, the second starts from a box
    and reads the fine one. The weights of a layer are 0.75 and 0.25.
    """
    locations = torch.tensor([[60.0, 40.0], [140.0, 80.0]]).expand(2, 1, 2, 2, 2)
    weights = torch.zeros(2, 1, 2, 2)
    weights[0, 0, 1] = weights[1, 0, 0] = torch.tensor([0.75, 0.25])
    mask = torch.zeros(120, 200, dtype=torch.bool)
    mask[30:90, 50:150] = True
    explanation = Explanation(
        image=Image.new("RGB", (200, 120), GREY),
        query=7,
        category=DOG,
        categories=Categories((CAT, DOG)),
        locations=locations.clone(),
        weights=weights,
        self_attention=torch.full((2, 1, 10), 0.1),
        references=(torch.tensor([100.0, 60.0]), torch.tensor([40.0, 20.0, 160.0, 100.0])),
        boxes=torch.tensor([[40.0, 20.0, 160.0, 100.0], [50.0, 30.0, 150.0, 90.0]]),
        class_scores=torch.tensor([[0.5, 0.25], [0.125, 0.875]]),
        mask=mask,
        level_sizes=((15, 25), (8, 13)),
        input_size=(120, 200),
    )

    def make(**changes: Any) -> Explanation:
        return replace(explanation, **changes)

    return make
