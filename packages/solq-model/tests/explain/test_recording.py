"""What the hooks write down is what the network does."""

import pytest
import torch

from solq_model.attention import DeformableAttention
from solq_model.explain.recording import reading, recording


def plain_attention(num_points=1, num_levels=1):
    """Attention with offsets of zero and equal weights."""
    attention = DeformableAttention(64, 2, num_levels, num_points)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
    return attention


@torch.no_grad()
def read(attention, memory, *reference):
    points = torch.tensor(reference).expand(1, 1, attention.num_levels, -1)
    return reading(attention, torch.zeros(1, 1, 64), points, memory)


def test_offsets_from_a_point_count_in_cells_of_each_level(make_memory):
    attention = plain_attention(num_levels=2)
    with torch.no_grad():
        attention.sampling_offsets.bias.view(-1, 2).copy_(torch.tensor([1.0, 0.5]))
    taken = read(attention, make_memory((2, 4), (1, 2)), 0.5, 0.25)
    expected = torch.tensor([[0.5 + 1 / 4, 0.25 + 0.5 / 2], [0.5 + 1 / 2, 0.25 + 0.5]])
    torch.testing.assert_close(taken.locations[0, 0, :, 0], expected)
    assert taken.level_sizes == ((2, 4), (1, 2))


def test_offsets_from_a_box_count_in_half_boxes_divided_by_the_points(make_memory):
    attention = plain_attention(num_points=2)
    with torch.no_grad():
        attention.sampling_offsets.bias.view(-1, 2).copy_(torch.tensor([2.0, -1.0]))
    taken = read(attention, make_memory((2, 4)), 0.5, 0.5, 0.4, 0.2)
    torch.testing.assert_close(taken.locations[0, 1, 0, 1], torch.tensor([0.7, 0.45]))
    torch.testing.assert_close(taken.references[0], torch.tensor([0.5, 0.5, 0.4, 0.2]))


def test_weights_of_equal_logits_are_equal(make_memory):
    taken = read(plain_attention(num_points=2, num_levels=2), make_memory((2, 4), (1, 2)), 0.5, 0.5)
    assert taken.weights.shape == (1, 2, 2, 2)
    assert taken.weights.eq(0.25).all()


def test_places_are_shares_of_the_image_without_its_padding(make_memory):
    memory = make_memory((2, 4))
    memory.valid_ratios[:] = torch.tensor([0.5, 1.0])  # the right half is padding
    taken = read(plain_attention(), memory, 0.25, 0.5)
    torch.testing.assert_close(taken.locations[0, 0, 0, 0], torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(taken.references[0], torch.tensor([0.5, 0.5]))


def test_self_attention_is_that_of_each_layer(make_model, make_images):
    model = make_model()
    inputs = []
    layers = model.decoder.layers
    handles = [
        layer.self_attention.register_forward_hook(
            lambda _, args, output: inputs.append((args, output))
        )
        for layer in layers
    ]
    with torch.no_grad(), recording(model.decoder) as taken:
        model(make_images((32, 48)))
    for handle in handles:
        handle.remove()
    assert len(taken.self_attention) == len(layers)
    for layer, ((_, _, values), (output, _)), weights in zip(
        layers, inputs, taken.self_attention, strict=True
    ):
        attention = layer.self_attention
        assert weights.shape == (4, 8, 8)
        torch.testing.assert_close(weights.sum(-1), torch.ones(4, 8))
        projected = torch.nn.functional.linear(
            values[0], attention.in_proj_weight[-64:], attention.in_proj_bias[-64:]
        )
        mixed = torch.einsum("hqk,khc->qhc", weights, projected.unflatten(-1, (4, -1)))
        torch.testing.assert_close(attention.out_proj(mixed.flatten(1)), output[0])


def test_hooks_are_gone_afterwards_also_after_an_error(make_model):
    model = make_model()
    with pytest.raises(KeyboardInterrupt), recording(model.decoder):
        raise KeyboardInterrupt
    assert not any(module._forward_hooks for module in model.modules())
