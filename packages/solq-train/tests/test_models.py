"""A path becomes a model: a saved folder, or a published checkpoint."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from solq_model import ModelConfig, build_model, presets
from solq_model.official import official_names
from solq_train.data import find_split
from solq_train.models import load_published, open_model, published_preset


@pytest.fixture
def published(small_model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as the published code writes it, of a network so small that it takes R50's place."""
    monkeypatch.setattr(presets, "r50", lambda: replace(small_model, num_classes=91))
    model = build_model(replace(small_model, num_classes=24))
    state = {
        name: tensor
        for ours, tensor in model.state_dict().items()
        if not ours.endswith("num_batches_tracked")
        for name in official_names(ours, model.config)
    }
    path = tmp_path / "published.pth"
    torch.save({"model": state, "args": argparse.Namespace(lr=2e-4), "epoch": 49}, path)
    return path


def validation(shapes: Path) -> Path:
    return find_split(shapes, "val").annotations


def test_a_saved_folder_is_opened_for_evaluation_with_its_categories(trained, shapes):
    model = open_model(trained / "best", validation(shapes))
    assert not model.training
    assert [entry.id for entry in model.categories.entries] == [1, 7, 23]


def test_a_published_file_has_as_many_classes_as_its_weights(published):
    model = open_model(published)
    assert not model.training
    assert model.config.num_classes == 24
    state = torch.load(published, weights_only=False)["model"]
    assert torch.equal(model.level_embedding, state["transformer.level_embed"])


def test_the_names_of_a_published_file_come_from_the_annotations(published, shapes):
    entries = open_model(published, validation(shapes)).categories.entries
    assert [(entry.id, entry.slot, entry.name) for entry in entries] == [
        (1, 1, "blob"),
        (7, 7, "star"),
        (23, 23, "ring"),
    ]


def test_published_weights_of_another_network_are_refused_by_file(published, small_model):
    other = build_model(replace(small_model, num_classes=5))
    state = torch.load(published, weights_only=False)["model"]
    expected = r"checkpoint .*published\.pth: the published weights do not fit .*5 class slots"
    with pytest.raises(ValueError, match=expected):
        load_published(other, published, state)


def test_a_file_of_other_weights_is_refused_by_name(published):
    torch.save({"model": {"weight": torch.zeros(2)}}, published)
    with pytest.raises(ValueError, match=r"checkpoint .*published\.pth: .*1 left over: weight"):
        open_model(published)


def test_a_model_that_knows_no_category_of_the_data_is_refused(trained, copied_set):
    path = copied_set.annotations

    def renumber(document):
        for entry in document["categories"]:
            entry["id"] += 100
        for entry in document["annotations"]:
            entry["category_id"] += 100

    copied_set.edit(renumber)
    expected = r"best knows the category ids \[1, 7, 23\], none of which is in .*\[101, 107, 123\]"
    with pytest.raises(ValueError, match=expected):
        open_model(trained / "best", path)


def test_a_folder_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"model .*none: expected a folder with model\.json"):
        open_model(tmp_path / "none")


@pytest.mark.parametrize("preset", ["r50", "r101", "swin_t", "swin_s", "swin_b", "swin_l"])
def test_the_backbone_of_a_published_file_is_told_by_names_and_shapes(preset):
    config = getattr(presets, preset)()
    with torch.device("meta"):
        model = build_model(config)
    state = {
        name: tensor
        for ours, tensor in model.state_dict().items()
        if not ours.endswith("num_batches_tracked")
        for name in official_names(ours, config)
    }
    assert published_preset(state) == config
