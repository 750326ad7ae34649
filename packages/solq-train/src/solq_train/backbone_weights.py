"""Pretrained weights of a backbone alone: torchvision's, or those a network's authors published."""

from __future__ import annotations

import pickle
from typing import Any

import torch

from solq_model.solq import SOLQ


def load_backbone(model: SOLQ, source: str) -> None:
    """Load ImageNet weights: torchvision's, downloaded for "imagenet", or from a file.

    For a Swin Transformer the file may be one of those its authors published, too.
    """
    from solq_model.backbones import SwinBackbone, load_resnet_weights, load_swin_weights

    state = _backbone_state(model.config.backbone, source)
    try:
        if isinstance(model.backbone, SwinBackbone):
            load_swin_weights(model.backbone, state.get("model", state))
        else:
            load_resnet_weights(model.backbone, state)
    except ValueError as error:
        msg = f"backbone_weights {source}: {error}"
        raise ValueError(msg) from error


def _backbone_state(backbone: str, source: str) -> dict[str, Any]:
    """The tensors of a file, or those that torchvision offers for "imagenet"."""
    if source == "imagenet":
        import torchvision  # which takes seconds

        try:
            weights = torchvision.models.get_model_weights(backbone)["IMAGENET1K_V1"]
        except ValueError as error:
            msg = f"backbone_weights {source}: torchvision has none of {backbone}; name a file"
            raise ValueError(msg) from error
        downloaded: dict[str, Any] = weights.get_state_dict(progress=True, check_hash=True)
        return downloaded
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        msg = f"backbone_weights {source}: not a file of torchvision weights ({error})"
        raise ValueError(msg) from error
    return state if isinstance(state, dict) else {}
