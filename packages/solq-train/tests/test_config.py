"""The defaults are the published values; what cannot be is refused by name."""

from __future__ import annotations

import pytest

from solq_train.config import DataConfig, OptimizerConfig, TrainConfig


def test_the_optimizer_defaults_are_the_published_ones():
    config = OptimizerConfig()
    assert (config.learning_rate, config.backbone_learning_rate) == (2e-4, 2e-5)
    assert (config.offset_rate_factor, config.weight_decay, config.clip_norm) == (0.1, 1e-4, 0.1)
    assert (config.batch_size, config.epochs, config.drop_epoch) == (32, 50, 40)
    assert (config.schedule, config.warmup_steps) == ("step", 0)


def test_the_data_defaults_are_the_published_ones():
    config = DataConfig()
    assert config.short_sides == tuple(range(480, 801, 32))
    assert (config.eval_short_side, config.max_size) == (800, 1333)
    assert (config.horizontal_flip, config.vertical_flip, config.transpose) == (0.5, 0, 0)
    assert (config.crop, config.crop_resize, config.crop_size) == (0.5, (400, 500, 600), (384, 600))


@pytest.mark.parametrize(
    "name",
    [
        "learning_rate",
        "backbone_learning_rate",
        "offset_rate_factor",
        "batch_size",
        "epochs",
        "drop_epoch",
    ],
)
def test_what_must_be_above_zero_is_refused_at_zero(name):
    with pytest.raises(ValueError, match=rf"optimizer\.{name} must be above 0, got 0"):
        OptimizerConfig(**{name: 0})


@pytest.mark.parametrize("name", ["weight_decay", "clip_norm", "warmup_steps", "final_rate_factor"])
def test_what_may_be_zero_is_refused_below(name):
    assert getattr(OptimizerConfig(**{name: 0}), name) == 0
    with pytest.raises(ValueError, match=rf"optimizer\.{name} must be at least 0, got -1"):
        OptimizerConfig(**{name: -1})


@pytest.mark.parametrize("name", ["evaluate_every", "log_every", "top_k", "max_steps"])
def test_counts_of_a_run_are_at_least_one(name):
    with pytest.raises(ValueError, match=rf"{name} must be at least 1, got 0"):
        TrainConfig(**{name: 0})


def test_seeds_that_torch_cannot_hold_are_refused():
    for seed in (-1, 2**63):
        with pytest.raises(ValueError, match=rf"seed must be 0 to 2\^63 - 1, got {seed}"):
            TrainConfig(seed=seed)


def test_impossible_data_settings_are_refused():
    with pytest.raises(ValueError, match=r"data\.image_ids must be distinct, got \[3, 3\]"):
        DataConfig(image_ids=(3, 3))
    with pytest.raises(ValueError, match=r"data\.num_workers must be at least 0, got -1"):
        DataConfig(num_workers=-1)


def test_only_initial_weights_have_a_head_to_reset():
    assert TrainConfig(initial_weights="runs/best", reset_head=True).reset_head
    with pytest.raises(ValueError, match="reset_head must be false without initial_weights"):
        TrainConfig(reset_head=True)
