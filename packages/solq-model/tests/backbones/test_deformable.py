"""Modulated deformable convolutions: plain at the start, then wherever their offsets say."""

import pytest
import torch
from torch import nn

from solq_model.backbones import ResNetBackbone
from solq_model.backbones.deformable import ModulatedConv2d


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def pair(**options):
    """A plain convolution and what replaces it."""
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, 3, bias=False, **options)
    return plain, ModulatedConv2d(plain)


@pytest.mark.parametrize(
    "options",
    [{"padding": 1}, {"padding": 1, "stride": 2}, {"padding": 2, "dilation": 2}],
    ids=["same size", "strided", "dilated"],
)
def test_a_fresh_layer_is_the_convolution_it_replaces(options):
    plain, modulated = pair(**options)
    images = noise(2, 4, 9, 12)
    torch.testing.assert_close(modulated(images), plain(images), atol=1e-5, rtol=1e-5)


def test_without_offsets_the_modulation_scales_each_tap():
    plain, modulated = pair(padding=1)
    logits = noise(9)
    with torch.no_grad():
        modulated.offset.bias[18:] = logits
        plain.weight.copy_(modulated.weight * logits.sigmoid().reshape(3, 3))
    images = noise(1, 4, 7, 5)
    torch.testing.assert_close(modulated(images), plain(images), atol=1e-5, rtol=1e-5)


def test_offsets_are_rows_then_columns_of_each_tap():
    plain, modulated = pair(padding=1)
    with torch.no_grad():
        modulated.offset.bias[0:18:2] = 1.0  # rows: every tap looks one cell further down
        modulated.offset.bias[1:18:2] = -2.0  # columns: and two to the left
    images = noise(1, 4, 10, 10)
    moved = images.roll((-1, 2), dims=(2, 3))
    inside = (..., slice(1, 7), slice(4, 9))
    torch.testing.assert_close(
        modulated(images)[inside], plain(moved)[inside], atol=1e-5, rtol=1e-5
    )


def test_the_gradient_reaches_weight_offsets_and_modulation():
    _, modulated = pair(padding=1)
    (modulated(noise(1, 4, 6, 6)) * noise(1, 6, 6, 6)).sum().backward()
    assert modulated.weight.grad.abs().max() > 0
    of_offsets = modulated.offset.weight.grad.flatten(1).abs().amax(1)
    assert (of_offsets > 0).all()
    assert (modulated.offset.bias.grad != 0).all()


def backbone(name="resnet50", **changes):
    values = {"norm": "frozen", "frozen_stages": 0, "dilation": False, "num_outputs": 3}
    return ResNetBackbone(name=name, **(values | changes))


def test_stages_two_to_four_of_a_resnet_are_deformed():
    with torch.device("meta"):
        body = backbone(deformable=True).body
    deformed = {n for n, m in body.named_modules() if isinstance(m, ModulatedConv2d)}
    blocks = {"layer2": 4, "layer3": 6, "layer4": 3}
    assert deformed == {f"{s}.{i}.conv2" for s, count in blocks.items() for i in range(count)}


@pytest.mark.parametrize("dilation", [False, True])
def test_a_fresh_deformed_network_gives_the_features_of_the_plain_one(dilation):
    networks = []
    for deformable in (False, True):
        torch.manual_seed(0)
        networks.append(backbone(dilation=dilation, deformable=deformable))
    images = noise(1, 3, 32, 48)
    with torch.no_grad():
        expected, found = (network(images) for network in networks)
    for plain, deformed in zip(expected, found, strict=True):
        assert deformed.shape == plain.shape
        # Unnormalised features of a fresh network are in the thousands.
        scale = plain.abs().max().item()
        torch.testing.assert_close(deformed, plain, atol=1e-5 * scale, rtol=1e-4)
