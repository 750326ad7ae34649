"""Recipes are whole configurations; the published ones keep the published values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from solq_model import build_model, presets
from solq_train.config import DataConfig, OptimizerConfig, TrainConfig
from solq_train.criterion import LossConfig
from solq_train.loading import train_transform
from solq_train.recipes import (
    RECIPES,
    fast_solq_coco,
    overfit_8,
    r50_coco,
    r101_coco,
    small,
    small_finetune,
    solq_pca_coco,
    sqr_r50_coco,
    swin_l_1536_coco,
    swin_l_coco,
    tiny_cpu,
)


def test_the_published_recipe_keeps_every_published_value():
    assert r50_coco() == TrainConfig(
        model=presets.r50(),
        data=DataConfig(class_slots="category_id"),
        loss=LossConfig(),
        optimizer=OptimizerConfig(),
        backbone_weights="imagenet",
    )


def test_r101_differs_from_r50_in_its_backbone_only():
    expected = replace(r50_coco(), model=replace(r50_coco().model, backbone="resnet101"))
    assert r101_coco() == expected


def test_swin_l_differs_from_r50_in_network_image_sizes_and_pretrained_weights_only():
    for recipe, longest in ((swin_l_coco(), 1333), (swin_l_1536_coco(), 1536)):
        short_sides = (416, 448, 480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
        short_sides += (832, 864, 896, 928, 960, 992, 1024, 1056, 1088)
        data = replace(
            r50_coco().data, short_sides=short_sides, eval_short_side=1088, max_size=longest
        )
        model = replace(presets.swin_l(), image_max_size=longest)
        expected = replace(r50_coco(), data=data, model=model, backbone_weights=None)
        assert recipe == expected


def test_the_baseline_differs_from_the_published_recipe_in_its_network_alone():
    recipe = sqr_r50_coco()
    assert replace(recipe, model=r50_coco().model) == r50_coco()
    assert recipe.model.mask_head == "spatial"
    assert (recipe.loss.spatial_mask_weight, recipe.loss.spatial_dice_weight) == (1.0, 1.0)


def test_published_variants_differ_from_r50_in_network_and_vector_loss_only():
    for recipe, model in (
        (fast_solq_coco(), presets.fast_solq()),
        (solq_pca_coco(), presets.solq_pca()),
    ):
        assert replace(recipe, loss=LossConfig()) == replace(r50_coco(), model=model)
    assert fast_solq_coco().loss == LossConfig(vector_weight=0.7, vector_reduction="sum")
    assert solq_pca_coco().loss == LossConfig(
        vector_weight=0.7, vector_distance="mse", dice_weight=0.7
    )


def test_the_cpu_recipe_trains_from_scratch_and_needs_no_download():
    config = tiny_cpu()
    assert config.backbone_weights is None
    assert config.model.frozen_stages == 0
    assert sum(p.numel() for p in build_model(config.model).parameters()) < 5e6


def test_the_small_recipe_trains_the_small_network_from_scratch():
    config = small()
    assert config.model == presets.small()
    assert config.backbone_weights is None
    assert config.loss == tiny_cpu().loss
    assert config.data.eval_short_side == 480


def test_fine_tuning_is_a_short_cosine_that_stops_early_on_categories_of_any_id():
    config, published = small_finetune(), OptimizerConfig()
    assert config.optimizer.schedule == "cosine"
    assert config.optimizer.learning_rate == published.learning_rate
    assert config.optimizer.warmup_steps > 0
    assert config.optimizer.epochs < published.epochs
    assert config.early_stopping > 0
    assert config.data.class_slots == "contiguous"
    assert config.backbone_weights is None


def test_the_overfitting_recipe_sees_eight_images_as_they_are():
    data = overfit_8().data
    assert len(data.image_ids) == 8
    assert (data.horizontal_flip, data.vertical_flip, data.transpose, data.crop) == (0, 0, 0, 0)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_named_after_its_function_and_fits_the_transforms(name):
    assert RECIPES[name].__name__ == name
    assert RECIPES[name].__doc__
    config = RECIPES[name]()
    assert train_transform(config.data).max_size == config.data.max_size
