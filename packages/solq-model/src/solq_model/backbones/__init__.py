"""Backbones: images → feature maps, finest first."""

from solq_model.backbones.resnet import ResNetBackbone as ResNetBackbone
