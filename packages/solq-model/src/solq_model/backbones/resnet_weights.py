"""ImageNet weights for ResNet backbones, by torchvision's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from solq_model.backbones.deformable import as_deformed
from solq_model.backbones.resnet import ResNetBackbone

# What no classifier has: counters of batch norm, and where deformable convolutions look.
FRESH = ("num_batches_tracked", "conv2.offset.weight", "conv2.offset.bias")


def load_resnet_weights(backbone: ResNetBackbone, state: Mapping[str, Tensor]) -> None:
    """Load a classifier's weights but for its head; deformable convolutions start as plain ones."""
    body = backbone.body
    wanted = {
        name: tensor.shape for name, tensor in body.state_dict().items() if not name.endswith(FRESH)
    }
    wrong = [n for n, shape in wanted.items() if getattr(state.get(n), "shape", None) != shape]
    if wrong:
        shown = f"{len(wrong)} tensors missing or of another shape: {', '.join(wrong[:4])}"
        msg = f"state does not fit this ResNet: {shown}"
        raise ValueError(msg)
    found = {name: as_deformed(name, state[name], body) for name in wanted}
    body.load_state_dict(found, strict=False)
