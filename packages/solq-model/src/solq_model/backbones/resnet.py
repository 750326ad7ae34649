"""ResNet backbones: torchvision's networks without their classifier."""

from __future__ import annotations

from collections.abc import Callable

import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FrozenBatchNorm2d

from solq_model.backbones.deformable import deform

STAGES = ("layer1", "layer2", "layer3", "layer4")


class ResNetBackbone(nn.Module):
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
            self.body: nn.Module = _narrow_resnet10(norm_layer)
        else:
            self.body = getattr(torchvision.models, name)(
                norm_layer=norm_layer, replace_stride_with_dilation=[False, False, dilation]
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
        features = images
        for part in ("conv1", "bn1", "relu", "maxpool"):
            features = getattr(body, part)(features)
        outputs = []
        for stage in STAGES:
            features = getattr(body, stage)(features)
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
