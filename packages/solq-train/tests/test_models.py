"""A path becomes a model: a saved folder, or a published checkpoint."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from solq_model import SOLQ, Categories, ModelConfig, build_model
from solq_model.published.names import official_names
from solq_train.data import find_split
from solq_train.models import load_initial_weights, open_model


@pytest.fixture
def published(small_model: ModelConfig, tmp_path: Path) -> Path:
    """A file as the published code writes it, with 24 class slots."""
    model = build_model(replace(small_model, num_classes=24, backbone_norm="frozen"))
    path = tmp_path / "published.pth"
    args = argparse.Namespace(lr=2e-4, nheads=small_model.num_heads)
    torch.save({"model": published_state(model), "args": args, "epoch": 49}, path)
    return path


def published_state(model: SOLQ) -> dict[str, torch.Tensor]:
    """The weights by their published names."""
    return {
        name: tensor
        for ours, tensor in model.state_dict().items()
        for name in official_names(ours, model.config)
    }


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


def test_a_file_of_other_weights_is_refused_by_name(published):
    torch.save({"model": {"weight": torch.zeros(2)}}, published)
    expected = r"checkpoint .*published\.pth: expected published .*unknown network: weight"
    with pytest.raises(ValueError, match=expected):
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


@pytest.fixture
def fresh(small_model: ModelConfig) -> SOLQ:
    """The network of the published file, but for its class slots."""
    torch.manual_seed(1)
    return build_model(replace(small_model, num_classes=3, backbone_norm="frozen"))


def test_initial_weights_of_another_class_count_are_refused_with_what_to_do(published, fresh):
    expected = (
        r"checkpoint .*published\.pth: .*2 of another shape: class_embed.*keep all but the class "
        "head with --reset-head"
    )
    with pytest.raises(ValueError, match=expected):
        load_initial_weights(fresh, str(published), reset_head=False)


def test_without_the_class_head_all_else_of_a_published_file_is_loaded(published, fresh, caplog):
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    load_initial_weights(fresh, str(published), reset_head=True)
    loaded = open_model(published).state_dict()
    for name, tensor in fresh.state_dict().items():
        source = before if name.startswith("class_heads.") else loaded
        assert torch.equal(tensor, source[name]), name
    assert "the class head begins anew, with 3 slots; the rest is" in caplog.text


def test_without_the_class_head_all_else_of_a_saved_model_is_loaded(trained, small_model):
    other = build_model(replace(small_model, num_classes=7))
    before = other.class_heads.at(0).bias.clone()
    with pytest.raises(ValueError, match=r"best.* tensors differ: class_heads.*--reset-head"):
        load_initial_weights(other, str(trained / "best"), reset_head=False)
    load_initial_weights(other, str(trained / "best"), reset_head=True)
    assert torch.equal(other.class_heads.at(0).bias, before)
    assert torch.equal(other.level_embedding, open_model(trained / "best").level_embedding)


def test_a_class_head_of_other_categories_is_pointed_out(trained, small_model, caplog):
    model = build_model(small_model)
    model.categories = Categories.contiguous(
        [{"id": i, "name": name} for i, name in enumerate("abc")]
    )
    load_initial_weights(model, str(trained / "best"), reset_head=False)
    assert (
        "class scores begin as those of blob, star, ring; --reset-head begins anew" in caplog.text
    )
    caplog.clear()
    model.categories = open_model(trained / "best").categories
    load_initial_weights(model, str(trained / "best"), reset_head=False)
    assert caplog.text == ""
