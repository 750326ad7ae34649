"""ImageNet weights for Swin backbones: the published Swin files, and torchvision's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from solq_model.backbones.swin import SwinBackbone

# Torchvision's names → the published ones.
TORCHVISION = (
    (r"^features\.0\.0\.", lambda _: "patch_embed.proj."),
    (r"^features\.0\.2\.", lambda _: "patch_embed.norm."),
    (
        r"^features\.([1357])\.(\d+)\.",
        lambda match: f"layers.{int(match[1]) // 2}.blocks.{match[2]}.",
    ),
    (r"^features\.([246])\.", lambda match: f"layers.{int(match[1]) // 2 - 1}.downsample."),
    (r"\.mlp\.0\.", lambda _: ".mlp.fc1."),
    (r"\.mlp\.3\.", lambda _: ".mlp.fc2."),
)
# What classifies (the last norm too: each stage that is returned has a norm of its own), and what
# follows from window and image size.
NOT_OURS = re.compile(r"(norm|head)\.(weight|bias)|.*\.(attn_mask|attn\.relative_position_index)")
# Norms of returned stages, which no classifier has; as published they begin at 1 and 0.
FRESH = re.compile(r"norm\d\.(weight|bias)")


def load_swin_weights(backbone: SwinBackbone, state: Mapping[str, Tensor]) -> None:
    """Load a classifier's weights, but for its head and last norm; all others must have a partner.

    `state` has the names of the published Swin files (their `model` entry) or of torchvision.
    """
    found = {_published_name(name): tensor for name, tensor in state.items()}
    found = {name: tensor for name, tensor in found.items() if not NOT_OURS.fullmatch(name)}
    own = backbone.body.state_dict()
    wanted = {name: tensor.shape for name, tensor in own.items() if not FRESH.fullmatch(name)}
    problems = {
        "missing": sorted(wanted.keys() - found.keys()),
        "left over": sorted(found.keys() - wanted.keys()),
        "of another shape": [
            f"{name} {tuple(found[name].shape)}, expected {tuple(shape)}"
            for name, shape in wanted.items()
            if name in found and found[name].shape != shape
        ],
    }
    parts = [
        f"{len(names)} {what}: {'; '.join(names[:4])}" for what, names in problems.items() if names
    ]
    if parts:
        msg = f"state does not fit this Swin Transformer. {'. '.join(parts)}"
        raise ValueError(msg)
    backbone.body.load_state_dict(found, strict=False)


def _published_name(name: str) -> str:
    for pattern, replacement in TORCHVISION:
        name = re.sub(pattern, replacement, name)
    return name
