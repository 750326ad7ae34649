"""A path as people give it → a model: a saved folder, or a published checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from solq_model import (
    SOLQ,
    Categories,
    ModelConfig,
    build_model,
    load_official_checkpoint,
    load_official_state_dict,
    presets,
)
from solq_train.data import read_coco


def open_model(path: Path, annotations: Path | None = None) -> SOLQ:
    """The model, in evaluation mode.

    A published `.pth` file knows no categories: their names come from `annotations`, whose ids are
    the class slots.
    """
    if not path.is_file():
        model = SOLQ.load(path)
        if annotations is not None:
            _check_categories(model, path, annotations)
        return model
    state = load_official_checkpoint(path)
    config = published_preset(state)
    num_classes = len(state.get("class_embed.0.bias", ())) or config.num_classes
    model = build_model(replace(config, num_classes=num_classes))
    load_published(model, path, state)
    if annotations is not None:
        model.categories = Categories.by_id(read_coco(annotations).categories)
    return model.eval()


def published_preset(state: Mapping[str, Tensor]) -> ModelConfig:
    """The preset whose backbone the published names and shapes are those of."""
    body = "backbone.0.body."
    patches = state.get(f"{body}patch_embed.proj.weight")
    if patches is None:
        is_deep = any(name.startswith(f"{body}layer3.22.") for name in state)
        return presets.r101() if is_deep else presets.r50()
    is_deep = any(name.startswith(f"{body}layers.2.blocks.17.") for name in state)
    small = presets.swin_s() if is_deep else presets.swin_t()
    return {128: presets.swin_b(), 192: presets.swin_l()}.get(len(patches), small)


def load_published(model: SOLQ, path: Path, state: Mapping[str, Tensor]) -> None:
    """Load the published weights that are in a file into the model."""
    try:
        load_official_state_dict(model, state)
    except ValueError as error:
        msg = f"checkpoint {path}: {error}"
        raise ValueError(msg) from error


def _check_categories(model: SOLQ, path: Path, annotations: Path) -> None:
    known = {entry.id for entry in model.categories.entries}
    asked = {int(category["id"]) for category in read_coco(annotations).categories}
    if not asked & known:
        msg = (
            f"model {path} knows the category ids {sorted(known)[:10]}, none of which is in "
            f"{annotations}: {sorted(asked)[:10]}"
        )
        raise ValueError(msg)
