"""Weights of a model become the start of a run on other categories, and say what was kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from solq_model import SOLQ, Categories, ModelConfig, build_model
from solq_train.config import TrainConfig
from solq_train.finetuning import load_initial_weights, with_network_of_weights
from solq_train.models import open_model
from solq_train.recipes import small_finetune


def categories(*names: str) -> Categories:
    return Categories.contiguous([{"id": 10 + i, "name": name} for i, name in enumerate(names)])


@pytest.fixture
def fresh(small_model: ModelConfig):
    """Makes the network of the trained model, for categories of these names."""

    def make(*names: str, **changes) -> SOLQ:
        torch.manual_seed(1)
        model = build_model(replace(small_model, num_classes=len(names), **changes))
        model.categories = categories(*names)
        return model

    return make


def head(model: SOLQ) -> torch.Tensor:
    return model.class_heads.at(0).weight


def test_categories_known_by_name_keep_their_scores_whatever_their_slot(trained, fresh):
    model, source = fresh("ring", "moon", " Blob"), open_model(trained / "best")
    before = head(model).clone()
    told = load_initial_weights(model, str(trained / "best"), reset_head=False)
    slot = {entry.name: entry.slot for entry in source.categories.entries}
    assert torch.equal(head(model)[0], head(source)[slot["ring"]])
    assert torch.equal(head(model)[1], before[1])
    assert torch.equal(head(model)[2], head(source)[slot["blob"]])
    assert told == "class head begins anew for moon and is kept for ring,  Blob"


def test_all_but_the_class_head_is_that_of_the_weights(trained, fresh):
    model, source = fresh("moon"), open_model(trained / "best").state_dict()
    told = load_initial_weights(model, str(trained / "best"), reset_head=False)
    for name, tensor in model.state_dict().items():
        assert name.startswith("class_heads.") or torch.equal(tensor, source[name]), name
    assert told == "class head begins anew for moon"


def test_the_same_categories_keep_the_whole_model(trained, fresh):
    source = open_model(trained / "best")
    model = fresh("a", "b", "c")
    model.categories = source.categories
    told = load_initial_weights(model, str(trained / "best"), reset_head=False)
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in source.state_dict().items())
    assert told == "class head is kept: the same categories"


def test_a_reset_head_begins_anew_even_for_known_names(trained, fresh):
    model = fresh("blob", "star", "ring")
    before = head(model).clone()
    told = load_initial_weights(model, str(trained / "best"), reset_head=True)
    assert torch.equal(head(model), before)
    assert told == "class head begins anew for all categories, as --reset-head asks"


def test_a_published_file_gives_all_but_the_scores_of_categories_it_does_not_know(published, fresh):
    model = fresh("x", "y", backbone_norm="frozen")
    load_initial_weights(model, str(published), reset_head=False)
    loaded = open_model(published).state_dict()
    for name, tensor in model.state_dict().items():
        assert name.startswith("class_heads.") or torch.equal(tensor, loaded[name]), name


def test_a_published_file_without_names_keeps_its_slots_where_there_are_as_many(published, fresh):
    names = [f"n{i}" for i in range(24)]
    model = fresh(*names, backbone_norm="frozen")
    told = load_initial_weights(model, str(published), reset_head=False)
    assert torch.equal(head(model), head(open_model(published)))
    assert told == "class head is kept: the weights name no categories"


def test_the_object_score_of_two_stages_is_of_all_categories(fresh, tmp_path):
    stages = {"two_stage": True, "query_selection": "agnostic"}
    fresh("a", "b", **stages).save(tmp_path / "model")
    torch.manual_seed(3)
    model = fresh("c", "d", "e", **stages)
    load_initial_weights(model, str(tmp_path / "model"), reset_head=False)
    rows = (m.queries.head.class_head.weight[0] for m in (model, open_model(tmp_path / "model")))
    assert torch.equal(*rows)


def test_weights_of_another_network_are_refused_with_its_tensors(trained, fresh):
    expected = r"initial_weights .*best do not fit the network: \d+ tensors differ: .*; .* is \("
    with pytest.raises(ValueError, match=expected):
        load_initial_weights(fresh("a", hidden_dim=64), str(trained / "best"), reset_head=False)


def asked(trained, **changes) -> TrainConfig:
    return replace(small_finetune(), initial_weights=str(trained / "best"), **changes)


def test_network_and_image_sizes_are_those_of_the_weights(trained, small_config):
    config, notes = with_network_of_weights(asked(trained), small_finetune())
    assert config.model == small_config.model
    assert (config.data.eval_short_side, config.data.max_size) == (64, 96)
    assert (config.data.short_sides[0], config.data.short_sides[-1]) == (38, 64)
    assert [note.split()[0] for note in notes] == ["network", "images"]
    assert "resnet10_w32, 1 + 1 layers of 32, 5 queries" in notes[0]


def test_what_differs_from_the_recipe_was_asked_for_and_stays(trained):
    recipe = small_finetune()
    config = asked(
        trained,
        model=replace(recipe.model, dropout=0.3),
        data=replace(recipe.data, eval_short_side=128),
    )
    adopted, notes = with_network_of_weights(config, recipe)
    assert (adopted.model.dropout, adopted.model.backbone) == (0.3, "resnet10_w32")
    assert (adopted.data.eval_short_side, adopted.data.max_size) == (128, 96)
    assert "with dropout=0.3" in notes[0]


def test_whitened_vectors_are_compared_in_their_own_space(fresh, tmp_path):
    fresh("a", whitened_vectors=True).save(tmp_path / "model")
    config = replace(small_finetune(), initial_weights=str(tmp_path / "model"))
    adopted, notes = with_network_of_weights(config, small_finetune())
    assert adopted.loss.vector_space == "whitened"
    assert notes[-1].startswith("loss ")


def test_the_network_of_a_published_file_is_recognised(published):
    config = replace(small_finetune(), initial_weights=str(published))
    adopted, notes = with_network_of_weights(config, small_finetune())
    assert (adopted.model.hidden_dim, adopted.model.num_classes) == (32, 24)
    assert adopted.data == small_finetune().data  # a published file does not say its sizes
    assert len(notes) == 1


def test_without_initial_weights_nothing_changes():
    assert with_network_of_weights(small_finetune(), small_finetune()) == (small_finetune(), ())
