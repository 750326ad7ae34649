"""Presets: the published configurations, and the small one."""

import inspect
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
    assert replace(preset(), image_short_side=800) == expected


PARAMETERS = {
    "deformable_detr": 40_069_665,
    "deformable_detr_refined": 40_849_660,
    "deformable_detr_single_scale": 34_066_593,
    "deformable_detr_single_scale_dc5": 34_066_593,
    "deformable_detr_two_stage": 41_181_529,
    "fast_solq": 54_193_660,
    "r101": 73_133_564,
    "r50": 54_193_660,
    "small": 15_384_892,
    "solq_pca": 53_992_760,
    "sqr_r101": 85_897_621,
    "sqr_r50": 66_957_717,
    "swin_b": 113_256_436,
    "swin_l": 223_622_992,
    "swin_l_1536": 223_622_992,
    "swin_s": 74_293_318,
    "swin_t": 52_975_414,
    "tiny": 2_672_356,
}


@pytest.mark.parametrize(
    ("preset", "logged"),
    [(presets.sqr_r50, 66_735_317), (presets.sqr_r101, 85_675_221)],
)
def test_the_baseline_trains_as_many_parameters_as_its_published_log_counts(preset, logged):
    with torch.device("meta"):
        parameters = build_model(preset()).parameters()
    assert sum(p.numel() for p in parameters if p.requires_grad) == logged


def test_every_preset_is_in_the_table():
    functions = inspect.getmembers(presets, inspect.isfunction)
    assert PARAMETERS.keys() == {n for n, f in functions if f.__module__ == presets.__name__}


@pytest.mark.parametrize(("name", "expected"), PARAMETERS.items(), ids=PARAMETERS)
def test_each_preset_has_the_documented_number_of_parameters(name, expected):
    # Deformable DETR's README says 34, 34, 40, 41 and 41 million of its five.
    assert num_parameters(getattr(presets, name)()) == expected


def test_larger_images_go_with_swin_l():
    sizes = [(c.image_short_side, c.image_max_size) for c in (presets.swin_l(), presets.r50())]
    assert sizes == [(1088, 1333), (800, 1333)]
    assert presets.swin_l_1536() == replace(presets.swin_l(), image_max_size=1536)


def test_deformable_detr_is_what_was_released():
    plain = presets.deformable_detr()
    assert (plain.hidden_dim, plain.feedforward_dim, plain.num_queries) == (256, 1024, 300)
    assert not plain.has_masks
    assert not plain.box_refinement
    assert presets.deformable_detr_refined() == replace(plain, box_refinement=True)
    two_stage = presets.deformable_detr_two_stage()
    assert two_stage == replace(plain, box_refinement=True, two_stage=True)
    assert two_stage.query_selection == "agnostic"


def test_the_pca_network_has_vectors_of_sixty_components_of_small_masks():
    config = presets.solq_pca()
    assert (config.codec, config.num_coefficients, config.mask_size) == ("pca", 60, 28)
