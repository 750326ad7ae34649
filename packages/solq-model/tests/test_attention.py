"""The deformable attention layer, and the feed-forward block."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from solq_model.attention import DeformableAttention, FeedForward

HIDDEN = 32


def plain_attention(num_levels=1, num_points=1):
    """Attention that reads the mean of its points: offsets 0, weights equal, projections none."""
    attention = DeformableAttention(HIDDEN, 2, num_levels, num_points)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        attention.value_projection.weight.copy_(torch.eye(HIDDEN))
        attention.output_projection.weight.copy_(torch.eye(HIDDEN))
    return attention


def set_offset(attention, x, y):
    with torch.no_grad():
        attention.sampling_offsets.bias.view(-1, 2).copy_(torch.tensor([x, y]))


def query_at(*reference, num_levels=1):
    """A query, and its reference on each level."""
    points = torch.tensor(reference).expand(1, 1, num_levels, -1)
    return torch.zeros(1, 1, HIDDEN), points


@pytest.fixture
def memory(make_memory):
    return make_memory((2, 4), hidden_dim=HIDDEN)


def test_a_reference_at_a_cells_centre_reads_that_cell(memory):
    query, reference = query_at(0.375, 0.75)  # column 1, row 1
    output = plain_attention()(query, reference, memory, memory.tokens)
    torch.testing.assert_close(output[0, 0], memory.tokens[0, 4 + 1])


def test_offsets_from_a_point_count_in_cells(memory):
    attention = plain_attention()
    set_offset(attention, 2.0, -1.0)
    query, reference = query_at(0.375, 0.75)
    output = attention(query, reference, memory, memory.tokens)
    torch.testing.assert_close(output[0, 0], memory.tokens[0, 3])  # column 1 + 2, row 1 - 1


def test_offsets_from_a_box_count_in_half_boxes_divided_by_the_points(memory):
    attention = plain_attention(num_points=2)
    set_offset(attention, 2.0, 0.0)  # of 2 points: one half of the width, 0.25
    query, reference = query_at(0.375, 0.75, 0.5, 0.1)
    output = attention(query, reference, memory, memory.tokens)
    torch.testing.assert_close(output[0, 0], memory.tokens[0, 4 + 2])


def test_each_level_is_read_and_weighed(make_memory):
    memory = make_memory((2, 4), (1, 1), hidden_dim=HIDDEN)
    query, reference = query_at(0.5, 0.5, num_levels=2)
    attention = plain_attention(num_levels=2)
    with torch.no_grad():
        attention.attention_weights.bias.view(2, 2).copy_(torch.tensor([0.0, 50.0]))
    output = attention(query, reference, memory, memory.tokens)
    torch.testing.assert_close(output[0, 0], memory.tokens[0, 8])


def test_padding_and_the_outside_read_as_zero(memory):
    with_padding = replace(memory, padding=torch.arange(8)[None] == 5)
    query, reference = query_at(0.375, 0.75)
    attention = plain_attention()
    assert (attention(query, reference, with_padding, memory.tokens) == 0).all()
    query, outside = query_at(1.5, 0.5)
    assert (attention(query, outside, memory, memory.tokens) == 0).all()


def test_the_gradient_reaches_offsets_weights_and_projections(make_memory, shake):
    memory = make_memory((3, 4), (2, 2), batch=2, hidden_dim=HIDDEN)
    torch.manual_seed(0)
    attention = DeformableAttention(HIDDEN, 4, 2, 3)
    shake(attention)
    queries = torch.randn(2, 5, HIDDEN)
    output = attention(queries, torch.rand(2, 5, 2, 4), memory, memory.tokens)
    assert output.shape == (2, 5, HIDDEN)
    output.square().sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_keeps_each_query_in_its_cell(dtype, make_memory):
    # In a row this wide the nearest bfloat16 to a cell's centre is up to half a cell beside it.
    memory = make_memory((1, 267), hidden_dim=HIDDEN)
    centres = (torch.arange(267) + 0.5) / 267
    reference = torch.stack((centres, torch.full((267,), 0.5)), -1)[None, :, None]
    attention = plain_attention()
    with torch.autocast("cpu", dtype=dtype):
        output = attention(torch.zeros(1, 267, HIDDEN), reference, memory, memory.tokens)
    torch.testing.assert_close(output, memory.tokens.to(dtype), rtol=2**-7, atol=2**-7)


def test_double_values_are_read_at_single_references(memory):
    query, reference = query_at(0.375, 0.75)
    doubled = replace(memory, tokens=memory.tokens.double())
    output = plain_attention().double()(query.double(), reference, doubled, doubled.tokens)
    torch.testing.assert_close(output[0, 0], doubled.tokens[0, 4 + 1])


def test_a_feed_forward_block_that_adds_nothing_is_its_norm():
    block = FeedForward(HIDDEN, 16, "relu", dropout=0.0)
    nn.init.zeros_(block.linear2.weight)
    nn.init.zeros_(block.linear2.bias)
    tokens = torch.randn(1, 3, HIDDEN, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.layer_norm(tokens, (HIDDEN,))
    torch.testing.assert_close(block(tokens), expected)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("relu", 0.0), ("gelu", -0.15865525), ("silu", -0.26894142)],
)
def test_the_activation_is_the_one_that_was_asked_for(activation, expected):
    block = FeedForward(4, 4, activation, dropout=0.0)
    assert block.activation(torch.tensor(-1.0)).item() == pytest.approx(expected)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    block = FeedForward(HIDDEN, 64, "relu", dropout=0.5)
    tokens = torch.randn(1, 3, HIDDEN)
    assert not torch.equal(block(tokens), block(tokens))
    block.eval()
    assert torch.equal(block(tokens), block(tokens))
