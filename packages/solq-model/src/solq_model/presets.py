"""Presets: functions that return a whole ModelConfig; a variant is `dataclasses.replace`."""

from dataclasses import replace

from solq_model.config import ModelConfig


def r50() -> ModelConfig:
    """SOLQ R50 as published (configs/r50_solq_train.sh)."""
    return ModelConfig()


def r101() -> ModelConfig:
    """SOLQ R101 as published."""
    return replace(r50(), backbone="resnet101")


def swin_t() -> ModelConfig:
    """SOLQ Swin-T as in the published code: trained from the stem on, with stochastic depth."""
    return replace(r50(), backbone="swin_t", frozen_stages=0, drop_path=0.2)


def swin_s() -> ModelConfig:
    """SOLQ Swin-S as in the published code."""
    return replace(swin_t(), backbone="swin_s")


def swin_b() -> ModelConfig:
    """SOLQ Swin-B as in the published code."""
    return replace(swin_t(), backbone="swin_b", drop_path=0.3)


def swin_l() -> ModelConfig:
    """SOLQ Swin-L as published. Its variant "1536" is this network trained on larger images."""
    return replace(swin_b(), backbone="swin_l")


def tiny() -> ModelConfig:
    """A small two-stage network that trains from scratch on two CPU cores in minutes.

    What each choice is worth was measured: docs/decisions/0003-tiny-recipe.md.
    """
    return ModelConfig(
        backbone="resnet10_w32",
        backbone_norm="batch",
        frozen_stages=0,
        num_classes=3,
        num_queries=30,
        hidden_dim=128,
        num_heads=8,
        encoder_layers=1,
        decoder_layers=3,
        feedforward_dim=256,
        encoder_points=1,
        decoder_points=4,
        num_feature_levels=3,
        dropout=0.0,
        two_stage=True,
        query_selection="mixed",
        proposal_scale=0.1,
        first_mask_layer=2,
        vector_hidden_dim=512,
        whitened_vectors=True,
    )
