"""Small networks for fixtures that live as long as a module: exporting takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from solq_model import SOLQ


@pytest.fixture(scope="session")
def build_small_model(session_model: Callable[..., SOLQ]) -> Callable[..., SOLQ]:
    """A network of two levels and one layer each, unless told otherwise."""

    def build(**changes: Any) -> SOLQ:
        values = {"num_feature_levels": 2, "decoder_layers": 1, "encoder_points": 1}
        return session_model(**(values | changes))

    return build
