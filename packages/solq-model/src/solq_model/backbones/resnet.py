"""ResNet backbones: torchvision's networks without their classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.ops import FrozenBatchNorm2d

from solq_model.backbones.deformable import deform
from solq_model.checkpointing import Checkpointed

STAGES = ("layer1", "layer2", "layer3", "layer4")


def convolve(features: Tensor, convolution: nn.Module, norm: nn.Module) -> Tensor:
    """The normalised convolution.

    A frozen norm is a factor and an offset of each channel, which the convolution can have in its
    weights: there it takes no passes over the features, and nothing is kept for its gradient.
    """
    if not isinstance(norm, FrozenBatchNorm2d) or type(convolution) is not nn.Conv2d:
        normalised: Tensor = norm(convolution(features))
        return normalised
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return F.conv2d(
        features,
        convolution.weight * scale[:, None, None, None],
        norm.bias - norm.running_mean * scale,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
    )


def add_shortcut(features: Tensor, block: BasicBlock | Bottleneck, inputs: Tensor) -> Tensor:
    """The output of a block: features and what goes past them."""
    shortcut = inputs if block.downsample is None else convolve(inputs, *block.downsample)
    return features.add_(shortcut).relu_()


class BasicBlock(resnet.BasicBlock):  # type: ignore[misc]
    """Torchvision's, by `convolve`."""

    def forward(self, inputs: Tensor) -> Tensor:
        features = convolve(inputs, self.conv1, self.bn1).relu_()
        return add_shortcut(convolve(features, self.conv2, self.bn2), self, inputs)


class Bottleneck(resnet.Bottleneck):  # type: ignore[misc]
    """Torchvision's, by `convolve`."""

    def forward(self, inputs: Tensor) -> Tensor:
        features = convolve(inputs, self.conv1, self.bn1).relu_()
        features = convolve(features, self.conv2, self.bn2).relu_()
        return add_shortcut(convolve(features, self.conv3, self.bn3), self, inputs)


# The block and how many of them each stage has.
BLOCKS = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
}


class ResNetBackbone(Checkpointed):
    """A ResNet that returns the outputs of its last `num_outputs` stages."""

    def __init__(
        self,
        *,
        name: str,
        norm: str,
        frozen_stages: int,
        frozen_stem: bool = False,
        dilation: bool,
        deformable: bool = False,
        num_outputs: int,
    ) -> None:
        super().__init__()
        norm_layer = FrozenBatchNorm2d if norm == "frozen" else nn.BatchNorm2d
        if name == "resnet10_w32":
            self.body: Any = _narrow_resnet10(norm_layer)
        else:
            self.body = resnet.ResNet(
                *BLOCKS[name],
                norm_layer=norm_layer,
                replace_stride_with_dilation=[False, False, dilation],
            )
        if deformable:
            deform(self.body)
        # Classification only; published checkpoints do not hold it.
        del self.body.fc, self.body.avgpool
        self.num_outputs = num_outputs
        channels = [_out_channels(getattr(self.body, stage)) for stage in STAGES]
        self.num_channels = channels[-num_outputs:]
        stem = ("conv1", "bn1") if frozen_stem or frozen_stages else ()
        for part in (*stem, *STAGES[:frozen_stages]):
            getattr(self.body, part).requires_grad_(requires_grad=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Features `[batch, channels, height / stride, width / stride]`, finest first."""
        body = self.body
        if images.device.type == "cpu":
            # Channels last is how oneDNN convolves fastest; elsewhere the weights' format decides.
            images = images.contiguous(memory_format=torch.channels_last)
        features = body.maxpool(convolve(images, body.conv1, body.bn1).relu_())
        outputs = []
        for stage in STAGES:
            features = self.run(getattr(body, stage), features)
            outputs.append(features)
        return outputs[-self.num_outputs :]


def _out_channels(stage: nn.Sequential) -> int:
    last = stage[-1]
    convolution = last.conv2 if isinstance(last, BasicBlock) else last.conv3
    assert isinstance(convolution, nn.Conv2d)
    return convolution.out_channels


def _narrow_resnet10(norm_layer: Callable[[int], nn.Module]) -> nn.Module:
    """One basic block a stage, widths 32, 64, 128, 256: a quarter of ResNet-18's arithmetic."""
    widths = (32, 64, 128, 256)
    body = nn.Module()
    body.conv1 = nn.Conv2d(3, widths[0], kernel_size=7, stride=2, padding=3, bias=False)
    body.bn1 = norm_layer(widths[0])
    body.relu = nn.ReLU(inplace=True)
    body.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    in_channels = widths[0]
    for stage, width in zip(STAGES, widths, strict=True):
        stride = 1 if stage == "layer1" else 2
        shortcut = None
        if stride > 1:
            shortcut = nn.Sequential(
                nn.Conv2d(in_channels, width, kernel_size=1, stride=stride, bias=False),
                norm_layer(width),
            )
        block = BasicBlock(in_channels, width, stride, shortcut, norm_layer=norm_layer)
        body.add_module(stage, nn.Sequential(block))
        in_channels = width
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    body.fc = body.avgpool = nn.Identity()  # the caller drops what classifies
    return body
