"""A path becomes a model: a saved folder, or a published checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from solq_train.data import find_split
from solq_train.models import open_model


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
