"""Query sources: learned, or proposed by the encoder."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from solq_model.heads import MLP
from solq_model.queries import AgnosticQueries, LearnedQueries, MixedQueries, ProposalHead

HIDDEN = 64


def proposal_head(num_classes=3, proposal_scale=0.1, *, plain_boxes=True):
    """A head that proposes its anchors as they are, unless told otherwise."""
    torch.manual_seed(0)
    box_head = MLP(HIDDEN, HIDDEN, 4, 3)
    if plain_boxes:
        nn.init.zeros_(box_head.layers[-1].weight)
        nn.init.zeros_(box_head.layers[-1].bias)
    return ProposalHead(nn.Linear(HIDDEN, num_classes), box_head, proposal_scale)


def with_padding(memory, padding, ratios):
    return replace(memory, padding=torch.tensor([padding]), valid_ratios=torch.tensor([ratios]))


def test_learned_queries_are_the_same_for_every_image(make_memory):
    torch.manual_seed(0)
    source = LearnedQueries(5, HIDDEN)
    queries = source(make_memory((2, 2), batch=3))
    assert queries.content.shape == queries.positions.shape == (3, 5, HIDDEN)
    assert queries.references.shape == (3, 5, 2)
    assert (queries.references[0] == queries.references[2]).all()
    position, content = source.embedding.weight.split(HIDDEN, dim=1)
    assert torch.equal(queries.positions[1], position)
    assert torch.equal(queries.content[1], content)
    torch.testing.assert_close(queries.references[1], source.reference_points(position).sigmoid())
    assert queries.proposals is None


def test_a_token_proposes_a_square_at_its_cell_that_doubles_with_each_level(make_memory):
    _, box_logits, usable = proposal_head()(make_memory((1, 2), (1, 1)))
    expected = [[0.25, 0.5, 0.1, 0.1], [0.75, 0.5, 0.1, 0.1], [0.5, 0.5, 0.2, 0.2]]
    torch.testing.assert_close(box_logits.sigmoid(), torch.tensor([expected]))
    assert usable.all()


def test_the_box_head_corrects_the_proposed_boxes_in_logits(make_memory):
    head = proposal_head()
    with torch.no_grad():
        head.box_head.layers[-1].bias.copy_(torch.tensor([1.0, 0, -1, 0]))
    _, box_logits, _ = head(make_memory((1, 1)))
    expected = torch.tensor([1.0, 0, -1 - math.log(9), -math.log(9)])
    torch.testing.assert_close(box_logits[0, 0], expected)


def test_proposals_are_in_shares_of_the_image_without_its_padding(make_memory):
    memory = with_padding(make_memory((2, 2)), [False, True, True, True], [[0.5, 0.5]])
    _, box_logits, usable = proposal_head()(memory)
    torch.testing.assert_close(box_logits[0, 0].sigmoid(), torch.tensor([0.5, 0.5, 0.1, 0.1]))
    assert usable.tolist() == [[True, False, False, False]]
    assert (box_logits[0, 1:] == math.inf).all()


def test_cells_at_the_border_and_boxes_as_large_as_the_image_are_not_usable(make_memory):
    _, _, usable = proposal_head()(make_memory((1, 60)))
    assert usable.tolist() == [[False, *[True] * 58, False]]  # 0.5 / 60 is less than 0.01
    _, _, usable = proposal_head(proposal_scale=0.5)(make_memory((1, 1), (1, 1)))
    assert usable.tolist() == [[True, False]]


def test_logits_are_finite_where_nothing_is_proposed(make_memory):
    memory = make_memory((1, 60))
    logits, _, usable = proposal_head()(memory)
    assert logits.isfinite().all()
    # What stands there is cleared: all such tokens say the same.
    torch.testing.assert_close(logits[0, 0], logits[0, -1])
    assert not usable[0, 0]


def test_mixed_queries_take_the_boxes_of_the_best_tokens_and_learned_content(make_memory):
    memory = make_memory((3, 4), batch=2)
    source = MixedQueries(5, proposal_head())
    queries = source(memory)
    best = queries.proposals.logits.amax(-1).topk(5, dim=1).indices
    expected = queries.proposals.boxes.gather(1, best[..., None].expand(-1, -1, 4))
    torch.testing.assert_close(queries.references, expected)
    assert torch.equal(queries.content, source.content.weight.expand(2, -1, -1))
    assert queries.positions is None
    assert not queries.proposals.class_agnostic


def test_agnostic_queries_take_the_boxes_of_the_best_first_slot(make_memory):
    memory = make_memory((3, 4), batch=2)
    queries = AgnosticQueries(5, proposal_head())(memory)
    best = queries.proposals.logits[..., 0].topk(5, dim=1).indices
    expected = queries.proposals.boxes.gather(1, best[..., None].expand(-1, -1, 4))
    torch.testing.assert_close(queries.references, expected)
    assert queries.content.shape == queries.positions.shape == (2, 5, HIDDEN)
    assert queries.proposals.class_agnostic


def test_agnostic_content_and_position_follow_from_the_box_alone(make_memory):
    source = AgnosticQueries(4, proposal_head())
    few, many = source(make_memory((2, 2))), source(make_memory((2, 2), seed=1))
    order, other = few.references[0].sum(-1).argsort(), many.references[0].sum(-1).argsort()
    torch.testing.assert_close(few.references[0, order], many.references[0, other])
    torch.testing.assert_close(few.content[0, order], many.content[0, other])
    torch.testing.assert_close(few.positions[0, order], many.positions[0, other])


def test_agnostic_positions_are_the_first_half_of_the_projected_code(make_memory):
    source = AgnosticQueries(4, proposal_head())
    seen = []
    source.norm.register_forward_hook(lambda *arguments: seen.append(arguments[2]))
    queries = source(make_memory((2, 2)))
    assert torch.equal(queries.positions, seen[0][..., :HIDDEN])
    assert torch.equal(queries.content, seen[0][..., HIDDEN:])


@pytest.mark.parametrize("source", [MixedQueries, AgnosticQueries])
def test_boxes_are_chosen_without_gradient(make_memory, source):
    queries = source(4, proposal_head(plain_boxes=False))(make_memory((3, 4)))
    assert not queries.references.requires_grad
    assert queries.proposals.boxes.requires_grad
    assert queries.content.requires_grad


@pytest.mark.parametrize("source", [MixedQueries, AgnosticQueries])
def test_fewer_tokens_than_queries_leave_the_number_of_queries(make_memory, source):
    queries = source(9, proposal_head())(make_memory((1, 2), (1, 1)))
    assert queries.content.shape == (1, 9, HIDDEN)
    assert (queries.references[0, 3:] == 1).all()
    assert (queries.references[0, :3] < 1).all()
    assert queries.content.isfinite().all()


def test_mixed_queries_prefer_any_usable_token_to_padding(make_memory):
    memory = make_memory((1, 4))
    memory = with_padding(memory, [False, False, True, True], [[0.5, 1.0]])
    head = proposal_head()
    with torch.no_grad():
        # Cleared tokens score 0 and the others less: padding would come first.
        head.class_head.weight.zero_()
        head.class_head.weight[:, 0] = -1
        head.class_head.bias.zero_()
        head.norm.bias.zero_()
        head.project.weight.zero_()
        head.project.bias.zero_()
        head.project.weight[0, 0] = 1
    memory = replace(memory, tokens=memory.tokens.abs())
    queries = MixedQueries(2, head)(memory)
    assert queries.proposals.logits[0, :2].max() < queries.proposals.logits[0, 2:].min()
    assert sorted(queries.references[0, :, 0].tolist()) == pytest.approx([0.25, 0.75])
