"""The network of published weights is told from their names and shapes."""

from dataclasses import replace

import pytest
import torch

from solq_model import ModelConfig, build_model, load_official_state_dict, presets, recognise
from solq_model.published.names import official_names
from solq_model.published.recognition import OPTIONS, RESNETS, examine

PRESETS = [
    *("r50", "r101", "swin_t", "swin_s", "swin_b", "swin_l", "fast_solq"),
    *("sqr_r50", "sqr_r101"),
    *("deformable_detr", "deformable_detr_refined", "deformable_detr_two_stage"),
    "deformable_detr_single_scale",
]
# Taken on trust in a file of weights alone, in the order that `examine` says it.
TRUSTED = ("num_heads", "activation", "dropout", "dilation", "mask_size", "first_mask_layer")
SIZES = ("image_short_side", "image_max_size")


def options_of(config):
    """The published command line of a network, as far as it settles what shapes cannot say."""
    return {theirs: getattr(config, ours) for ours, theirs in OPTIONS.items() if theirs}


def random_config(seed):
    """A small network with every choice drawn by chance."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*choices):
        return choices[int(torch.randint(len(choices), (1,), generator=generator))]

    two_stage = draw(False, False, True)
    masks = draw("vector", "vector", "none")
    # What follows tells a network with masks only.
    vectors = {
        "num_coefficients": draw(1, 16),
        "mask_size": draw(16, 28),
        "vector_hidden_dim": draw(8, 24),
    }
    backbone = draw("resnet10_w32", "resnet10_w32", "resnet18", "swin_t")
    return ModelConfig(
        backbone=backbone,
        frozen_stages=0 if backbone == "swin_t" else 1,
        drop_path=0.2 if backbone == "swin_t" else 0.0,
        num_classes=draw(1, 3, 91),
        num_queries=draw(1, 7, 300),
        hidden_dim=draw(32, 64),
        num_heads=draw(1, 2, 4, 8),
        encoder_layers=draw(1, 2),
        decoder_layers=draw(1, 2, 11),
        feedforward_dim=draw(16, 40),
        encoder_points=draw(1, 3),
        decoder_points=draw(1, 2, 4),
        num_feature_levels=draw(1, 2, 3, 4, 5),
        activation=draw("relu", "gelu", "silu"),
        dropout=draw(0.0, 0.1),
        **draw({}, {"position_embedding": "learned", "position_cells": draw(20, 50)}),
        box_refinement=two_stage or draw(False, True),
        two_stage=two_stage,
        mask_head=masks,
        **(vectors if masks == "vector" else {}),
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_each_published_preset_is_recognised(preset, published_state):
    config = getattr(presets, preset)()
    with torch.device("meta"):
        model = build_model(config)
    assert recognise(published_state(model)) == config


def test_what_no_file_tells_of_a_published_preset_can_be_said(published_state):
    for config, options, changes in (
        (presets.deformable_detr_single_scale_dc5(), {"dilation": True}, {}),
        (presets.swin_l_1536(), {}, {"image_max_size": 1536}),
    ):
        with torch.device("meta"):
            state = published_state(build_model(config))
        assert recognise(state, options, changes) == config
        assert recognise(state) != config


def test_deformable_convolutions_are_recognised(make_config, published_state):
    config = make_config(backbone="resnet50", deformable_convolutions=True)
    with torch.device("meta"):
        state = published_state(build_model(config))
    assert recognise(state, options_of(config)) == config


@pytest.mark.parametrize("backbone", sorted(set(RESNETS.values())))
def test_each_resnet_is_recognised(backbone, make_config, published_state):
    config = make_config(backbone=backbone, num_heads=8, dropout=0.1, mask_size=128)
    with torch.device("meta"):
        state = published_state(build_model(config))
    assert recognise(state) == config


@pytest.mark.parametrize("seed", range(16))
def test_what_is_recognised_loads_bit_for_bit(seed, published_state):
    config = random_config(seed)
    torch.manual_seed(seed)
    model = build_model(config)
    state = published_state(model)
    recognised = recognise(state, options_of(config))
    assert recognised == config, f"{seed=}"
    other = build_model(recognised)
    load_official_state_dict(other, state)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_what_nothing_in_the_file_tells_is_said_to_be_taken_on_trust(make_config, published_state):
    config = make_config(num_heads=8, dropout=0.1, mask_size=128)
    told = examine(published_state(build_model(config)))
    assert told.config == config
    assert told.from_options == ()
    assert told.on_trust == (*TRUSTED, *SIZES)


def test_options_and_changes_settle_what_shapes_cannot_say(make_config, published_state):
    config = make_config(num_heads=2, encoder_points=4, decoder_points=1, activation="gelu")
    state = published_state(build_model(config))
    options = {"nheads": 2, "activation": "gelu", "hidden_dim": 999, "lr": 2e-4}
    told = examine(state, options, {"mask_size": 16})
    assert told.config == replace(config, dropout=0.1)
    assert told.from_options == ("num_heads", "activation")
    assert told.on_trust == ("dropout", "dilation", "first_mask_layer", *SIZES)


def test_heads_and_points_share_one_number_that_shapes_tell(make_config, published_state):
    state = published_state(build_model(make_config(num_heads=4, encoder_points=2)))
    assert recognise(state, {"nheads": 4}).encoder_points == 2
    assert recognise(state, {"nheads": 8}).encoder_points == 1
    with pytest.raises(ValueError, match=r"24 samples, which are no multiple of 16 heads x 3 lev"):
        recognise(state, {"nheads": 16})


def test_dilation_is_seen_in_the_options_only(make_config, published_state):
    config = make_config(backbone="resnet50", dilation=True, num_feature_levels=1, num_heads=8)
    with torch.device("meta"):
        state = published_state(build_model(config))
    assert recognise(state, {"dilation": True, "dropout": 0.0, "gt_mask_len": 16}) == config
    assert not recognise(state).dilation


def test_two_stages_have_no_tensor_for_their_number_of_queries(make_config, published_state):
    state = published_state(build_model(make_config(two_stage=True)))
    assert recognise(state, {"num_queries": 100}).num_queries == 100
    told = examine(state)
    assert told.config.num_queries == 300
    assert "num_queries" in told.on_trust


@pytest.mark.parametrize("refined", [True, False])
def test_files_without_the_copies_of_shared_tensors_are_recognised_and_load(make_model, refined):
    """As safetensors leave them: of several names of one tensor the first in the alphabet."""
    model = make_model(box_refinement=refined)
    state = {
        min(official_names(name, model.config)): tensor
        for name, tensor in model.state_dict().items()
    }
    config = recognise(state, options_of(model.config))
    assert config == model.config
    other = build_model(config)
    load_official_state_dict(other, state)
    assert torch.equal(other.box_heads.at(1).layers[2].bias, model.box_heads.at(1).layers[2].bias)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("query_embed.weight"), "must hold query_embed.weight with 1 axes or more"),
        (
            lambda s: s.update({"backbone.0.body.layer1.1.conv1.weight": torch.zeros(1)}),
            r"a ResNet of \(2, 1, 1, 1\) blocks of 2 convolutions with a stem of 32 channels",
        ),
        (
            lambda s: s.update({"backbone.0.body.patch_embed.proj.weight": torch.zeros(5, 3)}),
            r"a Swin Transformer of width 5 and depths \(0, 0, 0, 0\) is none of",
        ),
        (
            lambda s: s.update({"transformer.level_embed": torch.zeros(3)}),
            r"level_embed with 2 axes or more, it is \(3,\)",
        ),
    ],
)
def test_a_network_that_is_none_of_ours_is_described(make_model, published_state, change, message):
    state = published_state(make_model())
    change(state)
    with pytest.raises(ValueError, match=message):
        recognise(state)


def test_options_of_no_network_are_refused_by_name(make_model, published_state):
    with pytest.raises(ValueError, match=r"ModelConfig\.activation must be one of relu"):
        recognise(published_state(make_model()), {"activation": "glu"})
