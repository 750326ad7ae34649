"""Parameter groups, rates and their course over a run."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from solq_model import build_model
from solq_train.config import OptimizerConfig
from solq_train.optim import build_optimizer, build_schedule, parameter_groups, rate_factor


def factors(config: OptimizerConfig, total_steps: int, steps_per_epoch: int) -> list[float]:
    return [
        rate_factor(step, config=config, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
        for step in range(total_steps)
    ]


def test_every_trainable_parameter_is_in_one_group(small_model):
    model = build_model(small_model)
    grouped = [name for members in parameter_groups(model).values() for name, _ in members]
    assert sorted(grouped) == sorted(name for name, _ in model.named_parameters())


def test_groups_are_the_published_ones(small_model):
    groups = parameter_groups(build_model(small_model))
    assert all(name.startswith("backbone.") for name, _ in groups["backbone"])
    offsets = {name for name, _ in groups["offsets"]}
    assert offsets == {
        f"{layer}.{leaf}"
        for layer in (
            "encoder.layers.0.attention.sampling_offsets",
            "decoder.layers.0.cross_attention.sampling_offsets",
            "queries.reference_points",
        )
        for leaf in ("weight", "bias")
    }
    assert "level_embedding" in {name for name, _ in groups["base"]}


def test_frozen_stages_are_in_no_group(small_model):
    model = build_model(replace(small_model, frozen_stages=2, backbone_norm="frozen"))
    names = {name for name, _ in parameter_groups(model)["backbone"]}
    assert names
    frozen = ("conv1", "bn1", "layer1", "layer2")
    assert not [name for name in names if name.split(".")[2] in frozen]


def test_a_wholly_frozen_backbone_leaves_out_its_group(small_model):
    model = build_model(replace(small_model, frozen_stages=4, backbone_norm="frozen"))
    groups = build_optimizer(model, OptimizerConfig()).param_groups
    assert [group["name"] for group in groups] == ["base", "offsets"]


def test_rates_and_decay_are_the_published_ones(small_model):
    optimizer = build_optimizer(build_model(small_model), OptimizerConfig())
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({"base": 2e-4, "backbone": 2e-5, "offsets": 2e-5})
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}
    assert isinstance(optimizer, torch.optim.AdamW)


def test_the_published_rate_falls_to_a_tenth_at_epoch_40_of_50():
    course = factors(OptimizerConfig(), total_steps=50 * 3, steps_per_epoch=3)
    assert course[: 40 * 3] == [1.0] * (40 * 3)
    assert course[40 * 3 :] == pytest.approx([0.1] * (10 * 3))


def test_the_rate_falls_again_after_as_many_epochs():
    course = factors(OptimizerConfig(drop_epoch=2), total_steps=5, steps_per_epoch=1)
    assert course == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_warm_up_grows_in_equal_steps_and_is_never_zero():
    course = factors(OptimizerConfig(warmup_steps=4), total_steps=8, steps_per_epoch=8)
    assert course == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])


def test_the_cosine_goes_from_one_to_its_end_over_the_steps_after_warm_up():
    config = OptimizerConfig(schedule="cosine", warmup_steps=2, final_rate_factor=0.1)
    course = factors(config, total_steps=10, steps_per_epoch=5)
    assert course[:2] == pytest.approx([1 / 3, 2 / 3])
    assert course[2] == 1.0
    assert course[6] == pytest.approx(0.1 + 0.9 / 2)
    assert course[9] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 7 / 8)))
    assert course[2:] == sorted(course[2:], reverse=True)


def test_the_cosine_stays_at_its_end():
    config = OptimizerConfig(schedule="cosine", final_rate_factor=0.1)
    for step in (10, 11, 100):
        factor = rate_factor(step, config=config, total_steps=10, steps_per_epoch=5)
        assert factor == pytest.approx(0.1)


def test_the_schedule_moves_all_groups_together(small_model):
    config = OptimizerConfig(drop_epoch=1)
    optimizer = build_optimizer(build_model(small_model), config)
    schedule = build_schedule(optimizer, config, total_steps=4, steps_per_epoch=2)
    before = [group["lr"] for group in optimizer.param_groups]
    for _ in range(2):
        optimizer.step()
        schedule.step()
    after = [group["lr"] for group in optimizer.param_groups]
    assert after == pytest.approx([rate / 10 for rate in before])
