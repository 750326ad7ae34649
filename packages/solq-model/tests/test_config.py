"""ModelConfig: what makes a network, and which choices are refused."""

import re
from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest

from solq_model import ModelConfig, presets


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet49"}, "backbone must be one of resnet10_w32, .*, got 'resnet49'"),
        ({"backbone_norm": "group"}, "backbone_norm must be one of frozen, batch, got 'group'"),
        ({"activation": "tanh"}, "activation must be one of relu, gelu, silu, got 'tanh'"),
        ({"position_embedding": None}, "position_embedding must be one of sine, .*, got None"),
        ({"query_selection": "pure"}, "query_selection must be one of agnostic, mixed, got 'pure'"),
        ({"num_queries": 3.0}, r"num_queries must be an integer, got 3\.0"),
        ({"num_queries": True}, "num_queries must be an integer, got True"),
        ({"num_queries": 0}, "num_queries must be at least 1, got 0"),
        ({"num_classes": -1}, "num_classes must be at least 1, got -1"),
        ({"decoder_layers": 0}, "decoder_layers must be at least 1, got 0"),
        ({"two_stage": "false"}, "two_stage must be true or false, got 'false'"),
        ({"dilation": 1}, "dilation must be true or false, got 1"),
        ({"dropout": "0.1"}, r"dropout must be a number, got '0\.1'"),
        ({"dropout": 1.0}, r"dropout must be 0 <= dropout < 1, got 1\.0"),
        ({"dropout": float("nan")}, "dropout must be 0 <= dropout < 1, got nan"),
        (
            {"backbone": "swin_t", "drop_path": 1.0},
            r"drop_path must be 0 <= drop_path < 1, got 1\.0",
        ),
        ({"drop_path": 0.2}, r"drop_path must be 0 with resnet50, got 0\.2"),
        (
            {"backbone": "swin_t", "dilation": True},
            r"dilation must be false with swin_t \(needs resnet50 or resnet101\), got True",
        ),
        (
            {"backbone": "swin_b", "backbone_norm": "batch"},
            "backbone_norm must be left at frozen with swin_b, got 'batch'",
        ),
        (
            {"mask_head": "spatial", "hidden_dim": 192},
            "hidden_dim must be a multiple of 128 with mask_head='spatial', got 192",
        ),
        (
            {"mask_head": "spatial", "num_heads": 4},
            "num_heads must be a multiple of 8 with mask_head='spatial', got 4",
        ),
        (
            {"mask_head": "spatial", "num_feature_levels": 2},
            r"num_feature_levels must be 3\.\.5 with mask_head='spatial', got 2",
        ),
        (
            {"mask_head": "spatial", "whitened_vectors": True},
            "whitened_vectors must be false with mask_head='spatial', got True",
        ),
        ({"proposal_scale": 0.0}, r"proposal_scale must be between 0 and 1, got 0\.0"),
        ({"frozen_stages": 5}, r"frozen_stages must be 0\.\.4, got 5"),
        ({"frozen_stages": -1}, r"frozen_stages must be 0\.\.4, got -1"),
        ({"hidden_dim": 100}, r"a multiple of 32 and of num_heads \(8\), got 100"),
        ({"hidden_dim": 64, "num_heads": 5}, r"of num_heads \(5\), got 64"),
        ({"num_feature_levels": 6}, r"num_feature_levels must be 1\.\.5, got 6"),
        ({"mask_size": 8, "num_coefficients": 65}, r"at most mask_size\^2 \(64\), got 65"),
        ({"mask_head": "pixels"}, "mask_head must be one of vector, spatial, none, got 'pixels'"),
        ({"codec": "jpeg"}, "codec must be one of dct, pca, got 'jpeg'"),
        (
            {"first_mask_layer": 6},
            r"first_mask_layer must be 0\.\.5 with 6 decoder_layers, got 6",
        ),
        ({"first_mask_layer": -1}, r"first_mask_layer must be 0\.\.5 with 6 .*, got -1"),
        (
            {"mask_head": "none", "whitened_vectors": True},
            "whitened_vectors must be false with mask_head='none', got True",
        ),
        ({"two_stage": True, "box_refinement": False}, "two_stage must be box_refinement to be on"),
    ],
)
def test_a_choice_that_makes_no_network_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=rf"ModelConfig\..*{message}"):
        ModelConfig(**changes)


# Of each field: a wrong value, what else it takes to be wrong, and the range that is named.
WRONG = {
    "backbone": (
        "resnet51",
        {},
        "one of resnet10_w32, resnet18, resnet34, resnet50, resnet101, sw",
    ),
    "backbone_norm": ("layer", {}, "one of frozen, batch"),
    "frozen_stages": (5, {}, "0..4"),
    "frozen_stem": (1, {}, "true or false"),
    "dilation": (True, {"backbone": "resnet34"}, "false with resnet34 (needs resnet50 or resnet1"),
    "deformable_convolutions": (True, {"backbone": "swin_s"}, "false with swin_s (needs resnet50"),
    "drop_path": (-0.1, {"backbone": "swin_s"}, "0 <= drop_path < 1"),
    "num_classes": (0, {}, "at least 1"),
    "num_queries": (0, {}, "at least 1"),
    "hidden_dim": (48, {"num_heads": 4}, "a multiple of 32 and of num_heads (4)"),
    "num_heads": (0, {}, "at least 1"),
    "encoder_layers": (0, {}, "at least 1"),
    "decoder_layers": (0, {}, "at least 1"),
    "feedforward_dim": (0, {}, "at least 1"),
    "encoder_points": (0, {}, "at least 1"),
    "decoder_points": (-3, {}, "at least 1"),
    "num_feature_levels": (6, {}, "1..5"),
    "activation": ("swish", {}, "one of relu, gelu, silu"),
    "dropout": (1, {}, "0 <= dropout < 1"),
    "position_embedding": ("fourier", {}, "one of sine, learned"),
    "position_cells": (0, {}, "at least 1"),
    "box_refinement": ("yes", {}, "true or false"),
    "two_stage": (True, {"box_refinement": False}, "box_refinement to be on"),
    "query_selection": ("best", {}, "one of agnostic, mixed"),
    "proposal_scale": (1.0, {}, "between 0 and 1"),
    "mask_head": ("pixels", {}, "one of vector, spatial, none"),
    "first_mask_layer": (3, {"decoder_layers": 3}, "0..2 with 3 decoder_layers"),
    "codec": ("fourier", {}, "one of dct, pca"),
    "num_coefficients": (17, {"mask_size": 4}, "at most mask_size^2 (16)"),
    "mask_size": (0, {}, "at least 1"),
    "vector_hidden_dim": (0, {}, "at least 1"),
    "whitened_vectors": (True, {"mask_head": "none"}, "false with mask_head='none'"),
    "image_short_side": (0, {}, "at least 1"),
    "image_max_size": (799, {}, "at least image_short_side (800)"),
}


def test_a_wrong_value_of_every_field_is_in_the_table():
    assert list(WRONG) == [field.name for field in fields(ModelConfig)]


@pytest.mark.parametrize("name", WRONG)
def test_each_field_is_refused_by_its_name_with_the_allowed_range(name):
    value, others, allowed = WRONG[name]
    expected = re.escape(f"ModelConfig.{name} must be {allowed}")
    with pytest.raises(ValueError, match=rf"^{expected}.*, got {re.escape(repr(value))}$"):
        ModelConfig(**{name: value}, **others)


@pytest.mark.parametrize("name", WRONG)
def test_each_field_takes_values_of_its_own_type_only(name):
    for value in (None, [1], {}, b"1"):
        with pytest.raises(ValueError, match=rf"^ModelConfig\.{name} must be .*, got "):
            ModelConfig(**{name: value})


def test_a_preset_cannot_lose_the_layers_that_predict_masks():
    with pytest.raises(ValueError, match=r"first_mask_layer must be 0\.\.1 with 2 decoder_layers"):
        replace(presets.tiny(), decoder_layers=2)


def test_the_borders_of_what_is_allowed_are_allowed():
    ModelConfig(frozen_stages=0, dropout=0, num_feature_levels=5)
    ModelConfig(frozen_stages=4, num_coefficients=64, mask_size=8, hidden_dim=32, num_heads=32)


@pytest.mark.parametrize("preset", [presets.r50, presets.r101, presets.swin_l, presets.tiny])
def test_plain_values_and_back_are_the_same_config(preset):
    assert ModelConfig.from_json(asdict(preset())) == preset()


def test_unknown_keys_are_refused_by_name():
    with pytest.raises(ValueError, match=r"unknown model config key\(s\) depth, hidden"):
        ModelConfig.from_json({"hidden": 384, "depth": 6, "dropout": 0.1})


def test_a_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        ModelConfig().num_queries = 100  # type: ignore[misc]
