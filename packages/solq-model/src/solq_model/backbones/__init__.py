"""Backbones: images → feature maps, finest first."""

from solq_model.backbones.resnet import ResNetBackbone as ResNetBackbone
from solq_model.backbones.resnet_weights import load_resnet_weights as load_resnet_weights
from solq_model.backbones.swin import SwinBackbone as SwinBackbone
from solq_model.backbones.swin_weights import load_swin_weights as load_swin_weights
