"""Swin Transformer backbones: windows, shifts, padding, what is frozen."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from solq_model.backbones import SwinBackbone
from solq_model.backbones.swin import (
    SwinBlock,
    SwinStage,
    join_windows,
    position_index,
    region_mask,
    split_windows,
)

PARTS = ("patch_embed", "layers.0", "layers.1", "layers.2", "layers.3")


def backbone(name="swin_t", **changes):
    torch.manual_seed(0)
    values = {"frozen_stages": 0, "drop_path": 0.0, "num_outputs": 3}
    return SwinBackbone(name=name, **(values | changes)).eval()


@pytest.fixture(scope="module")
def swin_t():
    return backbone()


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("swin_t", [192, 384, 768]),
        ("swin_s", [192, 384, 768]),
        ("swin_b", [256, 512, 1024]),
        ("swin_l", [384, 768, 1536]),
    ],
)
def test_features_halve_and_widen_from_stage_to_stage(name, channels):
    with torch.device("meta"):  # shapes only
        network = backbone(name)
        features = network(torch.zeros(1, 3, 64, 96))
    assert network.num_channels == channels
    sizes = [(8, 12), (4, 6), (2, 3)]
    expected = [(1, c, *size) for c, size in zip(channels, sizes, strict=True)]
    assert [tuple(f.shape) for f in features] == expected


@pytest.mark.parametrize("num_outputs", [1, 2, 3])
def test_the_last_stages_are_returned_with_a_norm_each(swin_t, num_outputs):
    images = noise(1, 3, 32, 32)
    network = backbone(num_outputs=num_outputs)
    network.load_state_dict(swin_t.state_dict(), strict=False)
    with torch.no_grad():
        features = network(images)
        assert len(features) == num_outputs
        assert torch.equal(features[-1], swin_t(images)[-1])
    norms = {name.split(".")[1] for name in network.state_dict() if name.startswith("body.norm")}
    assert norms == {f"norm{stage}" for stage in range(4 - num_outputs, 4)}


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (31, 32), (65, 97), (57, 230)])
def test_images_of_any_size_have_features(swin_t, size):
    with torch.no_grad():
        features = swin_t(noise(1, 3, *size))
    for stride, feature in zip((8, 16, 32), features, strict=True):
        assert tuple(feature.shape[2:]) == tuple(-(-side // stride) for side in size)
        assert feature.isfinite().all()


def test_images_are_padded_with_zeros_to_whole_patches(swin_t):
    image = noise(1, 3, 30, 41)
    with torch.no_grad():
        features = swin_t.body.patch_embed(image)
        padded = swin_t.body.patch_embed(F.pad(image, (0, 3, 0, 2)))
    assert torch.equal(features, padded)


def test_an_image_of_a_batch_has_the_features_it_has_alone(swin_t):
    images = noise(3, 3, 60, 76)
    with torch.no_grad():
        for together, alone in zip(swin_t(images), swin_t(images[1:2]), strict=True):
            torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


def attended_pixel_by_pixel(block, tokens):
    """What the block's attention gives, from the definition: each pair of pixels in turn."""
    attention, shift = block.attn, block.shift
    width = tokens.shape[2]
    heads, depth = attention.num_heads, width // attention.num_heads
    size = [-(-side // 7) * 7 for side in tokens.shape[:2]]
    padded = tokens.new_zeros(*size, width)
    padded[: tokens.shape[0], : tokens.shape[1]] = tokens
    queries, keys, values = attention.qkv(padded).chunk(3, dim=-1)

    def place(pixel):
        """Window, region and position within the window on the shifted map."""
        moved = [(p - shift) % side for p, side in zip(pixel, size, strict=True)]
        # What the shift carried around the map is a region of its own.
        wrapped = [p < shift for p in pixel]
        return [m // 7 for m in moved], wrapped, [m % 7 for m in moved]

    pixels = [(y, x) for y in range(size[0]) for x in range(size[1])]
    places = {pixel: place(pixel) for pixel in pixels}
    result = torch.zeros_like(padded)
    for query in pixels:
        window, region, (y, x) = places[query]
        seen = [p for p in pixels if places[p][0] == window and places[p][1] == region]
        rows = [13 * (y - places[p][2][0] + 6) + x - places[p][2][1] + 6 for p in seen]
        bias = attention.relative_position_bias_table[rows]
        for head in range(heads):
            own = slice(head * depth, (head + 1) * depth)
            scores = torch.stack([queries[query][own] @ keys[p][own] for p in seen])
            weights = (scores / math.sqrt(depth) + bias[:, head]).softmax(0)
            result[query][own] = weights @ torch.stack([values[p][own] for p in seen])
    return attention.proj(result)[: tokens.shape[0], : tokens.shape[1]]


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("size", [(1, 3), (5, 6), (7, 7), (9, 14)])
def test_attention_is_that_of_its_definition_pixel_by_pixel(shake, size, shift):
    torch.manual_seed(0)
    block = SwinBlock(8, num_heads=2, drop_path=0.0, shift=shift).double().eval()
    shake(block, scale=0.5)
    tokens = noise(*size, 8).double()
    with torch.no_grad():
        ours = block.attend(tokens[None], region_mask(*size, like=tokens))[0]
        torch.testing.assert_close(
            ours, attended_pixel_by_pixel(block, tokens), atol=1e-12, rtol=1e-12
        )


def test_the_second_block_of_two_is_shifted():
    stage = SwinStage(8, 2, [0.0] * 4, downsample=False)
    assert [block.shift for block in stage.blocks] == [0, 3, 0, 3]


def test_windows_are_joined_as_they_were_split():
    tokens = noise(2, 14, 21, 4)
    windows = split_windows(tokens)
    assert windows.shape == (2 * 6, 49, 4)
    assert torch.equal(windows[7].view(7, 7, 4), tokens[1, :7, 7:14])
    assert torch.equal(join_windows(windows, 14, 21), tokens)


def test_each_relative_position_has_its_row_of_the_table():
    index = position_index()
    assert index[0, 0] == 84  # the middle of 169
    assert index[0, 1] == 83  # the key one column to the right
    assert index[0, 7] == 71  # the key one row below
    assert set(index.flatten().tolist()) == set(range(169))


def test_every_parameter_has_a_gradient(swin_t):
    swin_t.zero_grad()
    sum(feature.square().sum() for feature in swin_t(noise(1, 3, 64, 96))).backward()
    for name, parameter in swin_t.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    swin_t.zero_grad()


@pytest.mark.parametrize("frozen_stages", [0, 1, 3, 4])
def test_frozen_stages_are_not_trained(frozen_stages):
    network = backbone(frozen_stages=frozen_stages, drop_path=0.2).train()
    frozen = PARTS[: frozen_stages + 1] if frozen_stages else ()
    for name in PARTS:
        part = network.body.get_submodule(name)
        assert {p.requires_grad for p in part.parameters()} == {name not in frozen}
        assert {m.training for m in part.modules()} == {name not in frozen}
    assert all(p.requires_grad for p in network.body.norm3.parameters())
    if frozen_stages < 4:
        sum(feature.sum() for feature in network(noise(1, 3, 32, 32))).backward()
        with_gradient = {n for n, p in network.body.named_parameters() if p.grad is not None}
        assert with_gradient
        assert not any(name.startswith(frozen) for name in with_gradient if frozen)


@pytest.mark.parametrize(
    ("published", "ours", "frozen"),
    [
        (-1, {"frozen_stages": 0}, ()),
        (0, {"frozen_stages": 0, "frozen_stem": True}, ("patch_embed",)),
        (1, {"frozen_stages": 0, "frozen_stem": True}, ("patch_embed",)),
        (2, {"frozen_stages": 1}, ("patch_embed", "layers.0")),
        (2, {"frozen_stages": 1, "frozen_stem": True}, ("patch_embed", "layers.0")),
        (5, {"frozen_stages": 4}, ("patch_embed", *(f"layers.{i}" for i in range(4)))),
    ],
)
def test_every_published_choice_of_frozen_stages_can_be_made(published, ours, frozen):
    # swin_transformer.py, _freeze_stages: from 0 on the patch embedding; from 2 on layers[: n - 1].
    expected = (["patch_embed"] if published >= 0 else []) + [
        f"layers.{index}" for index in range(max(0, published - 1))
    ]
    assert list(frozen) == expected
    body = backbone(**ours).train().body
    for name, parameter in body.named_parameters():
        is_frozen = any(name.startswith(f"{part}.") for part in frozen)
        assert parameter.requires_grad != is_frozen, name
    for name, module in body.named_modules():
        is_frozen = any(name == part or name.startswith(f"{part}.") for part in frozen)
        assert module.training != is_frozen, name


def test_blocks_are_skipped_the_more_often_the_deeper_they_are():
    network = backbone(drop_path=0.22)
    rates = [block.drop_path.p for stage in network.body.layers for block in stage.blocks]
    assert rates == pytest.approx([0.02 * index for index in range(12)])


def test_skipped_blocks_change_features_in_training_only(swin_t):
    network = backbone(drop_path=0.5)
    images = noise(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images)[-1], swin_t(images)[-1])
        assert not torch.equal(network.train()(images)[-1], swin_t(images)[-1])


def test_what_follows_from_the_window_is_not_saved(swin_t):
    assert not any("index" in name for name in swin_t.state_dict())


@pytest.mark.parametrize(
    ("name", "millions"), [("swin_t", 27.5), ("swin_s", 48.8), ("swin_b", 86.7), ("swin_l", 195.0)]
)
def test_networks_have_the_published_number_of_parameters(name, millions):
    with torch.device("meta"):
        network: nn.Module = backbone(name)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.06)
