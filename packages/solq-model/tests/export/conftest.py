"""Small networks for fixtures that live as long as a module: exporting takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from solq_model import SOLQ
from solq_model.backbones import swin


@pytest.fixture(scope="session")
def build_small_model(session_model: Callable[..., SOLQ]) -> Callable[..., SOLQ]:
    """A network of two levels and one layer each, unless told otherwise."""

    def build(**changes: Any) -> SOLQ:
        values = {"num_feature_levels": 2, "decoder_layers": 1, "encoder_points": 1}
        return session_model(**(values | changes))

    return build


@pytest.fixture
def build_small_swin(
    build_small_model: Callable[..., SOLQ], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], SOLQ]:
    """The same on a Swin Transformer of two blocks a stage."""
    size = swin.SwinSize(16, (2, 2, 2, 2), (1, 2, 2, 4))
    monkeypatch.setitem(swin.SIZES, "swin_t", size)
    return lambda: build_small_model(backbone="swin_t", backbone_norm="frozen")
