"""Modulated deformable convolution (arXiv:1811.11168) in place of a ResNet's 3 x 3 convolutions."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck
from torchvision.ops import deform_conv2d

# As published (models/resnet.py): all stages but the first.
DEFORMED_STAGES = ("layer2", "layer3", "layer4")
TAPS = 9
# What the modulation of a fresh layer multiplies by, sigmoid(0).
FRESH_MODULATION = 0.5


class ModulatedConv2d(nn.Module):
    """A convolution that reads each of its taps elsewhere, and less or more of it.

    `offset` predicts, for each output cell, (y, x) of each tap and then the logit of its weight, in
    the order of the published `conv2_offset`.
    """

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        assert plain.kernel_size == (3, 3)
        assert plain.bias is None
        self.stride, self.dilation = plain.stride[0], plain.dilation[0]
        self.weight = nn.Parameter(plain.weight.detach() / FRESH_MODULATION)
        self.offset = nn.Conv2d(
            plain.in_channels,
            3 * TAPS,
            kernel_size=3,
            stride=self.stride,
            padding=self.dilation,
            dilation=self.dilation,
        )
        # As in detectron2. The published code draws them (kaiming normal), so that its pretrained
        # backbone starts by looking anywhere; and zeros alone would halve every output. With the
        # weight doubled the layer starts as exactly the convolution it replaces.
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels rows columns"]:
        offsets, logits = self.offset(features).split([2 * TAPS, TAPS], dim=1)
        return deform_conv2d(
            features,
            offsets,
            self.weight,
            stride=self.stride,
            padding=self.dilation,
            dilation=self.dilation,
            mask=logits.sigmoid(),
        )


def deform(body: nn.Module) -> None:
    """Put modulated convolutions into the bottlenecks of a ResNet's later stages."""
    for stage in DEFORMED_STAGES:
        for block in getattr(body, stage):
            assert isinstance(block, Bottleneck)
            block.conv2 = ModulatedConv2d(block.conv2)


def as_deformed(name: str, tensor: Tensor, body: nn.Module) -> Tensor:
    """A tensor of a plain ResNet as the body holds it: weights of modulated layers are doubled."""
    owner = body.get_submodule(name.rpartition(".")[0])
    return tensor / FRESH_MODULATION if isinstance(owner, ModulatedConv2d) else tensor
