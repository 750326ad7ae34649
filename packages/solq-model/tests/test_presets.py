"""Presets: the published configurations, and the small one."""

from dataclasses import replace

import pytest
import torch

from solq_model import build_model, presets


def num_parameters(config):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_model(config).parameters())


def test_r50_is_the_published_configuration():
    config = presets.r50()
    assert (config.backbone, config.num_classes, config.num_queries) == ("resnet50", 91, 300)
    assert (config.hidden_dim, config.num_heads, config.feedforward_dim) == (384, 8, 1024)
    assert (config.encoder_layers, config.decoder_layers) == (6, 6)
    assert (config.encoder_points, config.decoder_points, config.num_feature_levels) == (4, 4, 4)
    assert (config.num_coefficients, config.mask_size, config.vector_hidden_dim) == (256, 128, 1024)
    assert (config.dropout, config.activation) == (0.1, "relu")
    assert config.box_refinement
    assert not config.two_stage
    assert not config.dilation


def test_r101_is_r50_with_a_deeper_backbone():
    assert presets.r101() == replace(presets.r50(), backbone="resnet101")


@pytest.mark.parametrize(
    ("preset", "backbone", "drop_path"),
    [
        (presets.swin_t, "swin_t", 0.2),
        (presets.swin_s, "swin_s", 0.2),
        (presets.swin_b, "swin_b", 0.3),
        (presets.swin_l, "swin_l", 0.3),
    ],
)
def test_swin_presets_are_r50_with_another_backbone_trained_from_the_stem_on(
    preset, backbone, drop_path
):
    expected = replace(presets.r50(), backbone=backbone, frozen_stages=0, drop_path=drop_path)
    assert preset() == expected


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        (presets.r50, 54_193_660),
        (presets.r101, 73_133_564),
        (presets.swin_t, 52_975_414),
        (presets.swin_s, 74_293_318),
        (presets.swin_b, 113_256_436),
        (presets.swin_l, 223_622_992),
    ],
)
def test_published_networks_have_the_documented_number_of_parameters(preset, expected):
    assert num_parameters(preset()) == expected


def test_tiny_is_tiny():
    assert num_parameters(presets.tiny()) < 3e6
