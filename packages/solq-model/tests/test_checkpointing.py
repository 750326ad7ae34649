"""Activation checkpointing: the same numbers, and less that is kept."""

import pytest
import torch

SIZES = ((64, 96), (48, 64))


def train_step(model, images, seed=0):
    """The outputs of all layers and the gradient of every parameter, with dropout."""
    model.train()
    torch.manual_seed(seed)
    predictions = model(images)
    layers = (predictions, *predictions.auxiliary)
    outputs = [t for p in layers for t in (p.logits, p.boxes, p.mask_vectors)]
    model.zero_grad(set_to_none=True)
    sum(output.square().mean() for output in outputs).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [*outputs, *gradients, *model.buffers()]


def bytes_kept(model, images):
    """What the graph of one pass keeps alive, the inputs of checkpointed parts apart."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train()(images)
    return sum(kept.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.3, "encoder_layers": 2},
        {"dropout": 0.1, "two_stage": True, "query_selection": "mixed"},
        {"backbone_norm": "batch"},
        {"backbone": "swin_t", "drop_path": 0.5},
    ],
    ids=["dropout", "two stages", "batch norms", "stochastic depth"],
)
def test_outputs_gradients_and_statistics_are_the_same_bit_for_bit(
    make_model, make_images, changes
):
    images = make_images(*SIZES)
    model = make_model(**changes)
    twin = make_model(**changes).checkpoint_activations()
    for plain, checkpointed in zip(
        train_step(model, images), train_step(twin, images), strict=True
    ):
        assert torch.equal(plain, checkpointed)


@pytest.mark.parametrize("backbone", ["resnet10_w32", "swin_t"])
def test_less_is_kept_and_it_can_be_switched_off(make_model, make_images, backbone):
    model = make_model(backbone=backbone, encoder_layers=3)
    images = make_images((128, 160))
    before = bytes_kept(model, images)
    assert bytes_kept(model.checkpoint_activations(), images) < 0.5 * before
    assert bytes_kept(model.checkpoint_activations(enabled=False), images) == before


def test_predictions_do_not_know_of_it(make_model, make_images, assert_same_predictions):
    model, images = make_model(), make_images(*SIZES)
    with torch.no_grad():
        assert_same_predictions(model.checkpoint_activations()(images), make_model()(images))
