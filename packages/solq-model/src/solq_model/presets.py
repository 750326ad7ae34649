"""Presets: functions that return a whole ModelConfig; a variant is `dataclasses.replace`."""

from dataclasses import replace

from solq_model.config import ModelConfig


def r50() -> ModelConfig:
    """SOLQ R50 as published (configs/r50_solq_train.sh)."""
    return ModelConfig()


def r101() -> ModelConfig:
    """SOLQ R101 as published."""
    return replace(r50(), backbone="resnet101")


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
        vector_hidden_dim=512,
        whitened_vectors=True,
    )
