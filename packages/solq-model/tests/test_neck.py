"""The neck: feature levels of one width, then one row of tokens."""

import pytest
import torch

from solq_model.neck import Neck, downsample_padding, flatten_levels
from solq_model.positions import SinePositions
from solq_model.records import FeatureMap


def feature_map(height, width, *, valid, value=0.0, hidden_dim=4):
    """One level whose features are one number; padding beyond `valid` (height, width)."""
    padding = torch.ones(1, height, width, dtype=torch.bool)
    padding[:, : valid[0], : valid[1]] = False
    return FeatureMap(
        features=torch.full((1, hidden_dim, height, width), value),
        positions=torch.arange(height * width).float().view(1, 1, height, width)
        + torch.zeros(1, hidden_dim, 1, 1),
        padding=padding,
    )


@pytest.mark.parametrize("num_levels", [3, 4, 5])
def test_levels_beyond_the_backbone_halve_the_resolution(num_levels):
    neck = Neck([8, 16, 24], 32, num_levels, SinePositions(32))
    sizes = [(13, 20), (7, 10), (4, 5)]
    features = [torch.randn(2, c, *s) for c, s in zip((8, 16, 24), sizes, strict=True)]
    levels = neck.project(features)
    expected = [*sizes, (2, 3), (1, 2)][:num_levels]
    assert [tuple(level.shape) for level in levels] == [(2, 32, *size) for size in expected]


def test_the_first_extra_level_comes_from_the_backbone_and_the_next_from_the_one_before():
    torch.manual_seed(0)
    neck = Neck([8], 32, 3, SinePositions(32))
    features = torch.randn(1, 8, 6, 6)
    levels = neck.project([features])
    assert torch.equal(levels[1], neck.projections[1](features))
    assert torch.equal(levels[2], neck.projections[2](levels[1]))


def test_positions_have_the_dtype_of_the_features():
    neck = Neck([8], 32, 1, SinePositions(32))
    located = neck.locate(torch.zeros(1, 32, 2, 3).half(), torch.zeros(1, 2, 3, dtype=torch.bool))
    assert located.positions.dtype == torch.half
    assert located.positions.shape == located.features.shape


def test_padding_is_downsampled_by_the_pixel_at_each_cells_corner():
    padding = torch.ones(1, 8, 8, dtype=torch.bool)
    padding[:, :5, :4] = False  # rows 0..4 and columns 0..3 are image
    small = downsample_padding(padding, (2, 2))  # looks at rows and columns 0 and 4
    assert small.tolist() == [[[False, True], [False, True]]]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5)])
def test_an_image_of_one_pixel_keeps_a_cell(size):
    padding = torch.ones(1, 300, 400, dtype=torch.bool)
    padding[:, 0, 0] = False
    assert (~downsample_padding(padding, size)).sum() == 1


def test_tokens_are_the_cells_row_by_row_level_after_level():
    levels = [
        feature_map(2, 3, valid=(2, 3), value=1.0),
        feature_map(1, 2, valid=(1, 2), value=2.0),
    ]
    memory = flatten_levels(levels, torch.zeros(2, 4))
    assert memory.level_sizes == ((2, 3), (1, 2))
    assert memory.spatial_shapes.tolist() == [[2, 3], [1, 2]]
    assert memory.level_start_index.tolist() == [0, 6]
    assert memory.tokens[0, :, 0].tolist() == [1, 1, 1, 1, 1, 1, 2, 2]
    assert memory.positions[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 0, 1]


def test_each_level_adds_its_embedding_to_the_positions_only():
    levels = [feature_map(1, 2, valid=(1, 2)), feature_map(1, 1, valid=(1, 1))]
    memory = flatten_levels(levels, torch.tensor([[10.0] * 4, [20.0] * 4]))
    assert memory.positions[0, :, 0].tolist() == [10, 11, 20]
    assert (memory.tokens == 0).all()


def test_valid_ratios_are_the_shares_x_y_without_padding():
    levels = [feature_map(4, 8, valid=(3, 2)), feature_map(2, 4, valid=(2, 1))]
    memory = flatten_levels(levels, torch.zeros(2, 4))
    assert memory.valid_ratios.tolist() == [[[0.25, 0.75], [0.25, 1.0]]]
    assert memory.padding.sum() == (32 - 6) + (8 - 2)
    assert memory.padding[0, :8].tolist() == [False, False, *[True] * 6]


@pytest.mark.parametrize(("hidden_dim", "groups"), [(32, 16), (64, 32), (384, 32)])
def test_features_are_normalised_in_groups_even_on_a_map_of_one_cell(hidden_dim, groups):
    neck = Neck([8], hidden_dim, 1, SinePositions(hidden_dim))
    assert neck.projections[0][1].num_groups == groups
    assert neck.project([torch.ones(1, 8, 1, 1)])[0].isfinite().all()
