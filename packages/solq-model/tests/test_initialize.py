"""Initial weights: the table of initialize.py, as facts about fresh networks."""

import math

import pytest
import torch
from torch import nn

from solq_model import build_model
from solq_model.attention import DeformableAttention


@pytest.fixture
def fresh(make_config):
    def make(**changes):
        torch.manual_seed(0)
        return build_model(make_config(**changes))

    return make


def deformable_layers(model):
    return [child for child in model.modules() if isinstance(child, DeformableAttention)]


def assert_xavier(weight):
    bound = math.sqrt(6 / (weight.shape[0] + weight.shape[1]))
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_heads_look_in_all_directions_and_point_k_at_distance_k(fresh):
    layers = deformable_layers(fresh(encoder_points=3, decoder_points=3))
    assert len(layers) == 3
    for attention in layers:
        assert (attention.sampling_offsets.weight == 0).all()
        offsets = attention.sampling_offsets.bias.view(4, 3, 3, 2)  # heads, levels, points
        directions = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
        for point in range(3):
            expected = (directions * (point + 1))[:, None].expand(-1, 3, -1)
            torch.testing.assert_close(offsets[:, :, point], expected, atol=1e-6, rtol=0)


def test_diagonal_heads_reach_as_far_in_x_and_y_as_straight_ones(fresh):
    attention = deformable_layers(fresh(num_heads=8))[0]
    offsets = attention.sampling_offsets.bias.view(8, 3, 2, 2)
    torch.testing.assert_close(offsets[1, 0, 0], torch.tensor([1.0, 1.0]))


def test_all_points_weigh_the_same_and_projections_are_xavier_without_bias(fresh):
    for attention in deformable_layers(fresh()):
        assert (attention.attention_weights.weight == 0).all()
        assert (attention.attention_weights.bias == 0).all()
        for projection in (attention.value_projection, attention.output_projection):
            assert_xavier(projection.weight)
            assert (projection.bias == 0).all()


def test_matrices_of_the_transformer_and_of_the_projections_are_xavier(fresh):
    model = fresh(two_stage=True)
    assert_xavier(model.encoder.layers[0].feedforward.linear1.weight)
    assert_xavier(model.decoder.layers[1].feedforward.linear2.weight)
    assert_xavier(model.decoder.layers[0].self_attention.in_proj_weight)
    assert_xavier(model.queries.project.weight)
    assert_xavier(model.queries.head.project.weight)
    for projection, _ in model.neck.projections:
        assert_xavier(projection.weight.flatten(1))
        assert (projection.bias == 0).all()


def test_learned_queries_and_levels_are_standard_normal(fresh):
    model = fresh(num_queries=100)
    assert model.queries.embedding.weight.std().item() == pytest.approx(1, rel=0.1)
    assert model.level_embedding.std().item() == pytest.approx(1, rel=0.2)
    assert_xavier(model.queries.reference_points.weight)
    assert (model.queries.reference_points.bias == 0).all()


def test_learned_positions_are_uniform_between_0_and_1(fresh):
    positions = fresh(position_embedding="learned").neck.positions
    for embedding in (positions.rows, positions.columns):
        assert 0 <= embedding.weight.min() < 0.01
        assert 0.99 < embedding.weight.max() <= 1


@pytest.mark.parametrize("two_stage", [False, True])
def test_every_class_starts_at_one_percent(fresh, two_stage):
    model = fresh(two_stage=two_stage)
    heads = [*model.class_heads.heads, *([model.queries.head.class_head] if two_stage else [])]
    for head in heads:
        assert head.bias.sigmoid().tolist() == pytest.approx([0.01] * 3)
        assert head.weight.std() > 0


def box_biases(model):
    heads = list(model.box_heads.heads)
    assert all((head.layers[-1].weight == 0).all() for head in heads)
    return [head.layers[-1].bias.tolist() for head in heads]


def test_boxes_start_small_at_their_reference_point(fresh):
    assert box_biases(fresh(decoder_layers=3)) == [[0, 0, -2, -2], [0] * 4, [0] * 4]
    assert box_biases(fresh(box_refinement=False)) == [[0, 0, -2, -2]]


def test_boxes_start_at_the_proposed_box(fresh):
    model = fresh(two_stage=True)
    assert box_biases(model) == [[0] * 4, [0] * 4]
    assert model.queries.head.box_head.layers[-1].bias.tolist() == [0] * 4


def test_mask_vectors_start_as_published_or_at_the_mean_mask(fresh):
    published = fresh().vector_head.mlp.layers[-1]
    assert (published.weight == 0).all()
    assert published.bias.tolist() == [0, 0] + [-2] * 14
    whitened = fresh(whitened_vectors=True).vector_head.mlp.layers[-1]
    assert (whitened.bias == 0).all()


def test_layers_start_with_different_weights(fresh):
    model = fresh(encoder_layers=2)
    for layers in (model.encoder.layers, model.decoder.layers):
        first, second = (layer.feedforward.linear1.weight for layer in layers)
        assert not torch.equal(first, second)


def test_the_same_seed_gives_the_same_network(fresh):
    first, second = fresh(), fresh()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_norms_start_as_the_identity(fresh):
    for child in fresh().modules():
        if isinstance(child, (nn.LayerNorm, nn.GroupNorm)):
            assert (child.weight == 1).all()
            assert (child.bias == 0).all()
