"""The decoder: queries that look at each other and into the memory, layer after layer."""

import pytest
import torch
from torch import nn

from solq_model.attention import DeformableAttention, FeedForward
from solq_model.decoder import Decoder, DecoderLayer, refine
from solq_model.heads import MLP, LayerHeads
from solq_model.positions import BoxPositions
from solq_model.queries import Queries

HIDDEN = 64


def decoder_layer():
    return DecoderLayer(
        nn.MultiheadAttention(HIDDEN, 4, batch_first=True),
        DeformableAttention(HIDDEN, 4, 1, 2),
        FeedForward(HIDDEN, 64, "relu", 0.0),
        0.0,
    )


def small_decoder(num_layers=2, *, box_refinement=True, box_positions=None):
    torch.manual_seed(0)
    return Decoder(
        [decoder_layer() for _ in range(num_layers)],
        box_refinement=box_refinement,
        box_positions=box_positions,
    ).eval()


def box_heads(count=2):
    torch.manual_seed(1)
    return LayerHeads([MLP(HIDDEN, HIDDEN, 4, 3) for _ in range(count)])


def some_queries(num_queries=5, reference_size=4, *, positions=True):
    generator = torch.Generator().manual_seed(0)
    return Queries(
        content=torch.randn(1, num_queries, HIDDEN, generator=generator),
        references=torch.rand(1, num_queries, reference_size, generator=generator),
        positions=torch.randn(1, num_queries, HIDDEN, generator=generator) if positions else None,
    )


@pytest.fixture
def memory(make_memory):
    return make_memory((3, 4), hidden_dim=HIDDEN)


def test_no_correction_keeps_a_box():
    boxes = torch.tensor([[[0.5, 0.25, 0.1, 0.9]]])
    torch.testing.assert_close(refine(boxes, torch.zeros(1, 1, 4)), boxes)


def test_corrections_are_added_to_the_logits():
    boxes = torch.full((1, 1, 4), 0.5)
    corrections = torch.tensor([[[0.0, 1.0, -1.0, 2.0]]])
    torch.testing.assert_close(refine(boxes, corrections), corrections.sigmoid())


def test_a_point_has_only_a_centre_to_correct():
    refined = refine(torch.tensor([[[0.25, 0.75]]]), torch.tensor([[[0.0, 0.0, 0.0, -2.0]]]))
    expected = torch.tensor([[[0.25, 0.75, 0.5, torch.tensor(-2.0).sigmoid()]]])
    torch.testing.assert_close(refined, expected)


@pytest.mark.parametrize("reference_size", [2, 4])
@pytest.mark.parametrize("box_refinement", [True, False])
def test_every_layer_gives_queries_and_boxes(memory, reference_size, box_refinement):
    decoder = small_decoder(3, box_refinement=box_refinement)
    outputs = decoder(some_queries(5, reference_size), memory, box_heads(3))
    assert [tuple(content.shape) for content, _ in outputs] == [(1, 5, HIDDEN)] * 3
    for _, boxes in outputs:
        assert boxes.shape == (1, 5, 4)
        assert ((boxes > 0) & (boxes < 1)).all()


def test_with_refinement_a_layer_corrects_the_boxes_of_the_one_before(memory):
    heads = box_heads()
    outputs = small_decoder()(some_queries(), memory, heads)
    (_, before), (content, after) = outputs
    torch.testing.assert_close(after, refine(before, heads.at(1)(content)))


def test_without_refinement_every_layer_corrects_the_first_references(memory):
    heads, queries = box_heads(1), some_queries(reference_size=2)
    outputs = small_decoder(box_refinement=False)(queries, memory, heads)
    for content, boxes in outputs:
        torch.testing.assert_close(boxes, refine(queries.references, heads.at(0)(content)))


def test_the_gradient_of_a_layers_boxes_stops_at_the_boxes_before(memory):
    heads = box_heads()
    small_decoder()(some_queries(), memory, heads)[1][1].sum().backward()
    assert all(parameter.grad is None for parameter in heads.at(0).parameters())
    assert all(parameter.grad is not None for parameter in heads.at(1).parameters())


def test_positions_can_be_made_from_the_current_boxes(memory):
    decoder = small_decoder(box_positions=BoxPositions(HIDDEN))
    seen = []
    decoder.box_positions.register_forward_hook(lambda _, boxes, __: seen.append(boxes[0]))
    queries = some_queries(positions=False)
    outputs = decoder(queries, memory, box_heads())
    assert torch.equal(seen[0], queries.references)
    assert torch.equal(seen[1], outputs[0][1])


def test_positions_steer_both_attentions(memory):
    queries, boxes = some_queries(), torch.full((1, 5, 1, 4), 0.5)
    for silenced in ("self_attention.out_proj", "cross_attention.output_projection"):
        torch.manual_seed(0)
        layer = decoder_layer()
        nn.init.normal_(layer.cross_attention.sampling_offsets.weight)
        nn.init.zeros_(layer.get_submodule(silenced).weight)
        here = layer(queries.content, queries.positions, boxes, memory)
        there = layer(queries.content, queries.positions + 1, boxes, memory)
        assert (here - there).abs().max() > 1e-3, silenced


def test_queries_have_no_order(memory):
    queries, order = some_queries(), torch.tensor([3, 0, 4, 1, 2])
    shuffled = Queries(
        content=queries.content[:, order],
        references=queries.references[:, order],
        positions=queries.positions[:, order],
    )
    decoder, heads = small_decoder(), box_heads()
    for ours, others in zip(
        decoder(queries, memory, heads), decoder(shuffled, memory, heads), strict=True
    ):
        torch.testing.assert_close(ours[0][:, order], others[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours[1][:, order], others[1])


def test_one_query_is_enough(memory):
    outputs = small_decoder()(some_queries(1), memory, box_heads())
    assert outputs[-1][1].shape == (1, 1, 4)
