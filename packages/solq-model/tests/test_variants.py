"""Properties of networks of any configuration: sizes, gradients, round trips, published names."""

from __future__ import annotations

import random

import pytest
import torch

from solq_model import SOLQ, build_model, load_official_state_dict, presets
from solq_model.published.names import official_constants, official_names

SEEDS = pytest.mark.parametrize("seed", range(12))


def drawn(seed):
    """Changes of the small network, drawn from all that can be combined."""
    draw = random.Random(seed)
    layers = draw.randint(1, 4)
    has_masks = draw.random() < 0.8
    two_stage = draw.random() < 0.5
    mixed = draw.random() < 0.5
    num_heads = draw.choice([1, 2, 4, 8, 16])
    backbone = draw.choice(["resnet10_w32"] * 4 + ["resnet18", "resnet34"])
    return {
        "backbone": backbone,
        "backbone_norm": draw.choice(["frozen", "batch"]),
        "frozen_stages": draw.choice([0, 1, 4]),
        "frozen_stem": draw.random() < 0.5,
        "num_classes": draw.randint(1, 5),
        "num_queries": draw.randint(1, 12),
        "hidden_dim": draw.choice([32, 64, 96, 128]),
        "num_heads": num_heads,
        "encoder_layers": draw.randint(1, 3),
        "decoder_layers": layers,
        "feedforward_dim": draw.randint(16, 70),
        "encoder_points": draw.randint(1, 5),
        "decoder_points": draw.randint(1, 5),
        "num_feature_levels": draw.randint(1, 5),
        "activation": draw.choice(["relu", "gelu", "silu"]),
        "position_embedding": draw.choice(["sine", "learned"]),
        "position_cells": draw.choice([12, 50]),
        "box_refinement": two_stage or draw.random() < 0.5,
        "two_stage": two_stage,
        "query_selection": "mixed" if mixed else "agnostic",
        "mask_head": "vector" if has_masks else "none",
        "first_mask_layer": draw.randrange(layers),
        "num_coefficients": draw.randint(1, 30),
        "vector_hidden_dim": draw.randint(4, 40),
        "whitened_vectors": has_masks and draw.random() < 0.3,
    }


@SEEDS
def test_outputs_have_the_sizes_of_the_configuration(make_model, make_images, seed):
    model = make_model(**drawn(seed))
    config = model.config
    with torch.no_grad():
        predictions = model(make_images((64, 80), (72, 48)))
    layers = [*predictions.auxiliary, predictions]
    assert len(layers) == config.decoder_layers
    for index, layer in enumerate(layers):
        assert layer.logits.shape == (2, config.num_queries, config.num_classes)
        assert layer.boxes.shape == (2, config.num_queries, 4)
        assert ((layer.boxes >= 0) & (layer.boxes <= 1)).all()
        if config.has_masks and index >= config.first_mask_layer:
            assert layer.mask_vectors.shape == (2, config.num_queries, config.num_coefficients)
        else:
            assert layer.mask_vectors is None
    assert (predictions.proposals is None) != config.two_stage


@SEEDS
def test_every_trained_parameter_has_a_gradient(
    make_model, make_images, seed, assert_gradients_everywhere
):
    changes = drawn(seed)
    if changes["num_queries"] == 1:
        # A single query attends to itself whatever its scores are.
        changes["num_queries"] = 2
    model = make_model(seed, **changes).train()
    assert_gradients_everywhere(model, make_images((64, 96), (80, 64)))


@SEEDS
def test_a_saved_network_comes_back_bit_by_bit(
    make_model, make_images, tmp_path, seed, assert_same_predictions
):
    model = make_model(**drawn(seed))
    model.save(tmp_path / "model")
    loaded = SOLQ.load(tmp_path / "model")
    assert loaded.config == model.config
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], t) for name, t in model.state_dict().items())
    images = make_images((48, 64))
    with torch.no_grad():
        assert_same_predictions(loaded(images), model(images))


@pytest.mark.parametrize("hidden_dim", [128, 256, 384])
@pytest.mark.parametrize("query_selection", ["agnostic", "mixed"])
def test_two_stages_work_at_any_hidden_size(
    make_model, make_images, hidden_dim, query_selection, assert_gradients_everywhere
):
    # The published code breaks beyond 256 (deformable_transformer.py:75, num_pos_feats).
    model = make_model(
        hidden_dim=hidden_dim, two_stage=True, query_selection=query_selection, num_heads=8
    )
    with torch.no_grad():
        predictions = model(make_images((64, 64)))
    assert predictions.proposals is not None
    assert all(layer.boxes.isfinite().all() for layer in (*predictions.auxiliary, predictions))
    assert_gradients_everywhere(model.train(), make_images((64, 64)))


def has_counterpart(changes):
    mixed = changes["two_stage"] and changes["query_selection"] == "mixed"
    return not mixed and not changes["whitened_vectors"]


PUBLISHED = {f"drawn {seed}": drawn(seed) for seed in range(40) if has_counterpart(drawn(seed))}
PUBLISHED |= {
    "deformable convolutions": {"backbone": "resnet50", "deformable_convolutions": True},
    "dilated": {"backbone": "resnet50", "dilation": True, "num_feature_levels": 1},
    "swin": {"backbone": "swin_t", "two_stage": True},
    "pca": {"codec": "pca"},
}


@pytest.mark.parametrize("changes", PUBLISHED.values(), ids=PUBLISHED)
def test_published_names_are_as_many_and_as_different_as_what_they_stand_for(make_config, changes):
    config = make_config(**changes)
    with torch.device("meta"):
        model = build_model(config)
    saved = [n for n in model.state_dict() if not n.endswith("num_batches_tracked")]
    names = [name for ours in saved for name in official_names(ours, config)]
    names += official_constants(model)
    assert len(set(names)) == len(names)
    roots = {name.split(".")[0] for name in names}
    expected = {"backbone", "input_proj", "transformer", "class_embed", "bbox_embed"}
    expected |= set() if config.two_stage else {"query_embed"}
    assert roots == expected | ({"vector_embed"} if config.has_vectors else set())


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "resnet50", "deformable_convolutions": True, "mask_head": "none"},
        {"backbone": "resnet34", "two_stage": True, "first_mask_layer": 1},
        {"num_feature_levels": 1, "box_refinement": False, "mask_head": "none"},
    ],
    ids=["deformable convolutions", "two stages", "detector of one level"],
)
def test_weights_under_their_published_names_come_back(make_model, changes):
    model, other = make_model(**changes), make_model(seed=1, **changes)
    state = dict(official_constants(model))
    for ours, tensor in model.state_dict().items():
        for published in official_names(ours, model.config):
            state[published] = tensor.clone()
    load_official_state_dict(other, state)
    found = other.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


def test_deformable_convolutions_have_the_published_names():
    config = presets.deformable_detr()
    assert official_names("backbone.body.layer3.4.conv2.offset.bias", config) == (
        "backbone.0.body.layer3.4.conv2_offset.bias",
    )
    assert official_names("backbone.body.layer3.4.conv2.weight", config) == (
        "backbone.0.body.layer3.4.conv2.weight",
    )
