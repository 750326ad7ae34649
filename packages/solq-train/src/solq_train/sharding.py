"""Weights, gradients and optimizer states in shards, one for each process (torch's FSDP2).

A run holds its model sharded. What reads all of it (evaluation, checkpoints, the record of a failed
step) gets a whole copy, so that files do not tell how many processes wrote them.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from solq_model import build_model
from solq_model.mask_codec import PCAMaskCodec
from solq_model.solq import SOLQ
from solq_train.distributed import Processes

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

# Older ones do not see the tensors inside of a record such as Memory, and average the gradients of
# a layer before all of them are there.
OLDEST_TORCH = "2.15"


def shard(model: SOLQ, processes: Processes) -> SOLQ:
    """The model itself, sharded over the processes: part by part, and what is left as one.

    A part's weights are gathered when it is run, forward and backward, and dropped after it.
    """
    # Here, as in what follows: these take as long to import as all of torch.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    _check(model)
    # Of the network's outputs, which are changed nowhere in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (processes.count,))
    sharded = [*_parts(model), model]
    for part in sharded:
        fully_shard(part, mesh=mesh)
        assert isinstance(part, FSDPModule)
        if device.type == "cpu":
            part.set_force_sum_reduction_for_comms(enable=True)  # gloo has no means
    return model


def _check(model: SOLQ) -> None:
    if TorchVersion(torch.__version__) < OLDEST_TORCH:
        msg = f"sharding=full needs torch {OLDEST_TORCH} or newer, found {torch.__version__}"
        raise ValueError(msg)
    batch_norms = [name for name, part in model.named_modules() if type(part) is nn.BatchNorm2d]
    if batch_norms:
        msg = (
            "sharding must be none where processes have batch norms of their own, as on a CPU "
            f"(model.backbone_norm=batch), got full with {batch_norms[0]}"
        )
        raise ValueError(msg)


def _parts(model: SOLQ) -> list[nn.Module]:
    """The parts that are gathered on their own, those inside of others first."""
    from solq_model.backbones import SwinBackbone

    body: Any = model.backbone.body
    if isinstance(model.backbone, SwinBackbone):
        backbone = [part for stage in body.layers for part in (*stage.blocks, stage)]
    else:
        backbone = [body.layer1, body.layer2, body.layer3, body.layer4]
    return [*backbone, *model.encoder.layers, *model.decoder.layers]


def whole_model(model: SOLQ) -> SOLQ:
    """A plain copy with all of the weights; the model itself where it is not sharded.

    All processes have to ask for it together. Buffers are the model's own.
    """
    if not _is_sharded(model.level_embedding):
        return model
    with torch.device("meta"):
        copy = build_model(model.config)
    copy.categories, copy.preprocessing = model.categories, model.preprocessing
    if isinstance(model.codec, PCAMaskCodec):  # others follow from the configuration
        copy.codec = model.codec
    for ours, theirs in zip(copy.modules(), model.modules(), strict=True):
        for name, parameter in theirs.named_parameters(recurse=False):
            setattr(ours, name, nn.Parameter(whole(parameter.detach()), parameter.requires_grad))
        for name, buffer in theirs.named_buffers(recurse=False):
            setattr(ours, name, buffer)
    return copy.train(model.training)


def take_weights(model: SOLQ, weights: SOLQ) -> None:
    """Give the model the weights of a whole one."""
    if weights is not model:
        model.load_state_dict(divided(weights.state_dict(), model.state_dict()))


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor of a sharded one, in each process; a plain one as it is."""
    return tensor.full_tensor() if _is_sharded(tensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This process's shard, which shares its memory; a plain tensor as it is."""
    return tensor.to_local() if _is_sharded(tensor) else tensor


def _is_sharded(value: Any) -> TypeGuard[DTensor]:
    """Whether this is one of torch's distributed tensors, which no other has a method like."""
    return hasattr(value, "full_tensor")


def whole_state(state: Any) -> Any:
    """Nested dictionaries and lists with whole tensors, on the CPU where they were sharded."""
    if isinstance(state, dict):
        return {key: whole_state(value) for key, value in state.items()}
    if isinstance(state, list):
        return [whole_state(value) for value in state]
    return state.full_tensor().cpu() if _is_sharded(state) else state


def divided(state: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """Whole tensors by name, sharded as their namesakes are. Each process has the whole ones."""
    return {
        name: _as_shard(value, like[name]) if name in like else value
        for name, value in state.items()
    }


def divided_optimizer_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> Any:
    """A whole optimizer's state, each moment sharded as its parameter is."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        index: {
            name: _as_shard(value, parameters[index])
            if value.shape == parameters[index].shape
            else value
            for name, value in entries.items()
        }
        for index, entries in state["state"].items()
    }
    return {**state, "state": moments}


def _as_shard(value: Tensor, like: Tensor) -> Tensor:
    if not _is_sharded(like):
        return value
    from torch.distributed.tensor import distribute_tensor

    # No process sends: all have read the same file.
    return distribute_tensor(
        value.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )
