"""The encoder: tokens that look at each other."""

from dataclasses import replace

import torch

from solq_model.attention import DeformableAttention, FeedForward
from solq_model.encoder import Encoder, EncoderLayer, cell_centres

HIDDEN = 64


def small_encoder(num_layers, num_levels):
    torch.manual_seed(0)
    return Encoder(
        [
            EncoderLayer(
                DeformableAttention(HIDDEN, 4, num_levels, 2),
                FeedForward(HIDDEN, 64, "relu", 0.0),
                0.0,
            )
            for _ in range(num_layers)
        ]
    ).eval()


def test_a_token_is_centred_in_its_cell(make_memory):
    centres = cell_centres(make_memory((2, 2)))
    assert centres[0, :, 0].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_a_map_of_one_cell_is_centred(make_memory):
    assert cell_centres(make_memory((1, 1)))[0, 0, 0].tolist() == [0.5, 0.5]


def test_padding_does_not_move_a_token_on_its_own_level(make_memory):
    memory = make_memory((1, 4))
    padded = replace(memory, valid_ratios=torch.tensor([[[0.5, 1.0]]]))
    torch.testing.assert_close(cell_centres(padded), cell_centres(memory))


def test_a_token_keeps_its_share_of_the_image_on_levels_padded_otherwise(make_memory):
    # Three of four columns are image, and one of two: column 1 lies in the middle of the image.
    memory = replace(
        make_memory((1, 4), (1, 2)), valid_ratios=torch.tensor([[[0.75, 1.0], [0.5, 1.0]]])
    )
    centres = cell_centres(memory)
    torch.testing.assert_close(centres[0, 1, :, 0], torch.tensor([0.375, 0.25]))


def test_the_encoder_changes_the_tokens_and_nothing_else(make_memory):
    memory = make_memory((3, 4), (2, 2), batch=2)
    encoded = small_encoder(2, 2)(memory)
    assert encoded.tokens.shape == memory.tokens.shape
    assert not torch.equal(encoded.tokens, memory.tokens)
    assert replace(encoded, tokens=memory.tokens) == memory


def test_what_stands_in_the_padding_reaches_no_token(make_memory):
    memory = make_memory((3, 4), (2, 2))
    padding = torch.zeros(1, 16, dtype=torch.bool)
    padding[:, [3, 7, 11, 13, 15]] = True
    memory = replace(
        memory, padding=padding, valid_ratios=torch.tensor([[[0.75, 1.0], [0.5, 1.0]]])
    )
    other = replace(memory, tokens=memory.tokens.masked_fill(padding[..., None], 1000.0))
    encoder = small_encoder(2, 2)
    ours, others = encoder(memory).tokens, encoder(other).tokens
    assert torch.equal(ours[~padding], others[~padding])


def test_images_of_a_batch_do_not_mix(make_memory):
    memory = make_memory((3, 4), batch=2)
    encoder = small_encoder(1, 1)
    second = replace(
        memory,
        tokens=memory.tokens[1:],
        positions=memory.positions[1:],
        padding=memory.padding[1:],
        valid_ratios=memory.valid_ratios[1:],
    )
    torch.testing.assert_close(encoder(memory).tokens[1:], encoder(second).tokens)
