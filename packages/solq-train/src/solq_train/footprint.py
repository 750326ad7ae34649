"""What a run will need: bytes of memory in training, bytes of its checkpoints on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from solq_model import ModelConfig, build_model
from solq_model.records import PaddedImages
from solq_train.run import Run


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of one process. All but the activations are exact."""

    weights: int
    gradients: int
    optimizer: int
    average: int  # of the weights
    activations: int  # what the forward pass keeps for the backward pass
    images: int  # that are computed at a time
    image_size: tuple[int, int]  # (height, width) of the largest batch

    @property
    def total(self) -> int:
        """All at once, as at the end of the forward pass."""
        return self.weights + self.gradients + self.optimizer + self.average + self.activations

    @property
    def checkpoint(self) -> int:
        """A checkpoint on disk."""
        return self.weights + self.optimizer + self.average


def footprint(run: Run) -> Footprint:
    """What a run needs where images are as large as they get, in float32."""
    data, config = run.config.data, run.config
    shares = run.processes.count * config.optimizer.accumulate
    images = -(-run.batch_size // shares)
    # Images lie down more often than they stand; both cost the same.
    size = (min(max(data.short_sides), data.max_size), data.max_size)
    trained = _bytes(p for group in run.optimizer.param_groups for p in group["params"])
    state = _bytes(run.model.state_dict().values())
    return Footprint(
        weights=state,
        gradients=trained,
        optimizer=2 * trained,  # AdamW's two averages
        average=state if run.average is not None else 0,
        activations=activation_bytes(config.model, images, size),
        images=images,
        image_size=size,
    )


def activation_bytes(config: ModelConfig, images: int, image_size: tuple[int, int]) -> int:
    """What the network keeps of a batch for its backward pass.

    Tensors on the meta device have shapes and no values: nothing is computed or allocated.
    """
    with torch.device("meta"):
        model = build_model(config).train()
        batch = PaddedImages(
            tensors=torch.empty(images, 3, *image_size),
            padding=torch.zeros(images, *image_size, dtype=torch.bool),
        )
    own = {_storage(tensor) for tensor in model.state_dict(keep_vars=True).values()}
    kept: dict[int, Tensor] = {}  # views of one storage count once

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(_storage(tensor), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.forward_padded(batch)
    return sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)


def _storage(tensor: Tensor) -> int:
    # Storages on the meta device have no address of their own.
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
