"""The memory of a run is counted: exactly, and activations by a forward pass without values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from solq_model import build_model
from solq_model.records import PaddedImages
from solq_train.data import find_split
from solq_train.footprint import activation_bytes, footprint
from solq_train.run import prepare_run


def kept_in_fact(config, images: int, size: tuple[int, int]) -> int:
    """The bytes of all tensors that a real forward pass keeps for the backward pass."""
    model = build_model(config).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    batch = PaddedImages(
        tensors=torch.zeros(images, 3, *size), padding=torch.zeros(images, *size, dtype=torch.bool)
    )
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.forward_padded(batch)
    return sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)


@pytest.mark.parametrize("two_stage", [False, True])
def test_activations_are_those_that_a_real_forward_pass_keeps(small_model, two_stage):
    config = replace(small_model, two_stage=two_stage)
    counted = activation_bytes(config, 2, (64, 96))
    assert counted == pytest.approx(kept_in_fact(config, 2, (64, 96)), rel=0.02)


def test_more_and_larger_images_keep_more(small_model):
    one = activation_bytes(small_model, 1, (64, 64))
    assert activation_bytes(small_model, 4, (64, 64)) == pytest.approx(4 * one, rel=0.02)
    assert activation_bytes(small_model, 1, (128, 128)) > 3 * one


def test_weights_gradients_optimizer_and_average_are_exact(small_config, shapes):
    config = replace(
        small_config,
        ema_decay=0.9,
        optimizer=replace(small_config.optimizer, accumulate=2),
    )
    run = prepare_run(config, find_split(shapes, "train"))
    need = footprint(run)
    state = sum(t.numel() * t.element_size() for t in run.model.state_dict().values())
    trained = 4 * sum(p.numel() for p in run.model.parameters())
    assert (need.weights, need.average, need.gradients) == (state, state, trained)
    assert need.optimizer == 2 * trained
    assert (need.images, need.image_size) == (2, (64, 96))
    assert need.total == 2 * state + 3 * trained + need.activations
