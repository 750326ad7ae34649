"""Position encodings: of cells, and of boxes."""

import math

import pytest
import torch

from solq_model.positions import BoxPositions, LearnedPositions, SinePositions, sine_code


def padding_of(height, width, *, valid=None):
    """One map, of which only the upper left `valid` (height, width) is no padding."""
    padding = torch.ones(1, height, width, dtype=torch.bool)
    rows, columns = valid or (height, width)
    padding[:, :rows, :columns] = False
    return padding


def test_the_code_of_zero_is_sine_zero_and_cosine_one():
    assert sine_code(torch.zeros(3), 6).tolist() == [[0, 1] * 3] * 3


def test_wavelengths_grow_from_one_to_the_temperature():
    code = sine_code(torch.tensor(math.pi / 2), 4)
    expected = [1.0, 0.0, math.sin(math.pi / 200), math.cos(math.pi / 200)]
    torch.testing.assert_close(code, torch.tensor(expected))


def test_the_only_cell_lies_in_the_middle():
    code = SinePositions(4)(padding_of(1, 1))
    angle = 0.5 / (1 + 1e-6) * 2 * math.pi
    expected = torch.tensor([math.sin(angle), math.cos(angle)]).repeat(2)
    torch.testing.assert_close(code[0, :, 0, 0], expected)


def test_the_first_half_of_the_sine_code_is_the_row_and_the_second_the_column():
    code = SinePositions(64)(padding_of(5, 7))
    assert code.shape == (1, 64, 5, 7)
    rows, columns = code.chunk(2, dim=1)
    assert (rows == rows[..., :1]).all()
    assert (columns == columns[..., :1, :]).all()
    assert (rows[..., 0, 0] != rows[..., 1, 0]).any()


@pytest.mark.parametrize("valid", [(5, 7), (1, 1), (8, 3), (2, 10)])
def test_padding_does_not_move_the_cells_of_an_image(valid):
    alone = SinePositions(32)(padding_of(*valid))
    padded = SinePositions(32)(padding_of(8, 10, valid=valid))
    assert padded.isfinite().all()
    assert torch.equal(padded[..., : valid[0], : valid[1]], alone)


def test_learned_codes_are_the_column_then_the_row():
    positions = LearnedPositions(8, 50)
    code = positions(padding_of(3, 5).expand(2, -1, -1))
    assert code.shape == (2, 8, 3, 5)
    assert torch.equal(code[1, :4, 2, 4], positions.columns.weight[4])
    assert torch.equal(code[1, 4:, 2, 4], positions.rows.weight[2])


@pytest.mark.parametrize("cells", [1, 50, 70])
def test_learned_positions_end_after_their_cells_and_name_the_field(cells):
    positions = LearnedPositions(8, cells)
    assert positions(padding_of(cells, cells)).shape == (1, 8, cells, cells)
    message = (
        rf"learned positions reach {cells} x {cells} cells \(ModelConfig\.position_cells\), "
        f"got a feature map of 1 x {cells + 1}: use smaller images, more cells or"
    )
    with pytest.raises(ValueError, match=message):
        positions(padding_of(1, cells + 1))


def test_box_positions_tell_places_and_sizes_apart():
    torch.manual_seed(0)
    positions = BoxPositions(32)
    boxes = torch.tensor(
        [[0.5, 0.5, 0.2, 0.2], [0.6, 0.5, 0.2, 0.2], [0.5, 0.6, 0.2, 0.2], [0.5, 0.5, 0.2, 0.3]]
    )
    codes = positions(boxes[None])[0]
    assert codes.shape == (4, 32)
    assert torch.pdist(codes).min() > 1e-3


def test_box_positions_are_an_mlp_on_the_code_of_the_four_numbers():
    positions = BoxPositions(4)
    first, _, last = positions.layers
    with torch.no_grad():
        for parameter in positions.parameters():
            parameter.zero_()
        # A sine and a cosine for each of cx, cy, width, height.
        first.weight[0, 0] = first.weight[1, 6] = first.weight[2, 7] = 1
        last.weight.copy_(torch.eye(4))
    code = positions(torch.tensor([[[0.25, 0.3, 0.3, 0.5]]]))
    torch.testing.assert_close(code[0, 0], torch.tensor([1.0, 0.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    code = positions(torch.tensor([[[0.0, 0.3, 0.3, 1.0]]]))
    torch.testing.assert_close(code[0, 0], torch.tensor([0.0, 0.0, 1.0, 0.0]), atol=1e-6, rtol=0)
