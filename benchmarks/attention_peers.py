"""Who is compared: our operators, the usual grid_sample formulation, and installed kernels."""

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from attention_cases import compose
from torch import Tensor
from torch.nn import functional as F

from solq_ops import ms_deform_attn, ms_deform_attn_fused

Attention = Callable[..., Tensor]
# The dtypes that an implementation has kernels for, or converts by itself.
FLOAT32, ANY = (torch.float32,), (torch.float32, torch.bfloat16)


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """A function of the operator's arguments, in the sampled form or in the fused one."""

    name: str
    function: Attention
    fused: bool = False
    dtypes: tuple[torch.dtype, ...] = ANY


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A kernel that is measured where it can be imported; `load` imports it."""

    name: str
    distribution: str
    devices: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]
    load: Callable[[], Attention]


def implementations(device: str, dtype: torch.dtype) -> list[Implementation]:
    """All that can be measured on this kind of device in this dtype, the usual one first."""
    every = [
        Implementation(name="grid_sample", function=grid_sample_attention),
        *installed_peers(device)[0],
        Implementation(name="solq_ops", function=ms_deform_attn),
        Implementation(name="solq_ops fused", function=ms_deform_attn_fused, fused=True),
        # What the fused form spares: softmax and locations as models compute them.
        Implementation(name="solq_ops composed", function=composed_attention, fused=True),
    ]
    return [implementation for implementation in every if dtype in implementation.dtypes]


def installed_peers(device: str) -> tuple[list[Implementation], dict[str, str]]:
    """The peers that can be imported, and of each what was found, or why there is nothing."""
    found, state = [], {}
    for peer in PEERS:
        if device not in peer.devices:
            state[peer.name] = f"not for {device}"
            continue
        try:
            function = peer.load()
        except (ImportError, OSError) as error:  # OSError: the Hub cannot be reached
            absent = isinstance(error, ModuleNotFoundError)
            state[peer.name] = "not installed" if absent else f"not available: {error}"
            continue
        found.append(Implementation(name=peer.name, function=function, dtypes=peer.dtypes))
        state[peer.name] = version_of(peer.distribution)
    return found, state


def version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def composed_attention(value: Tensor, shapes: Tensor, starts: Tensor, *raw: Tensor) -> Tensor:
    """The fused form's arguments, composed in torch and given to the sampled form."""
    return ms_deform_attn(value, shapes, starts, *compose(shapes, *raw))


def grid_sample_attention(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Deformable DETR's fallback, which RF-DETR, RT-DETR and Transformers run as it is.

    One grid_sample per level on heads folded into the batch, all levels stacked, then weighted.
    16-bit values are sampled in float32, as under autocast. Positions in 16 bits would be off by
    cells, and torch 2.15's own 16-bit grid_sample on a CPU counts offsets in 16 bits: from 32,768
    elements on it returns garbage, or crashes.
    """
    batch, _, heads, channels = value.shape
    queries, points = sampling_locations.shape[1], sampling_locations.shape[4]
    grids = (2 * sampling_locations - 1).transpose(1, 2).flatten(0, 1)
    reads = []
    for level, (height, width) in enumerate(spatial_shapes.tolist()):
        start = int(level_start_index[level])
        image = value[:, start : start + height * width].to(grids.dtype).flatten(2).transpose(1, 2)
        image = image.reshape(batch * heads, channels, height, width)
        reads.append(F.grid_sample(image, grids[:, :, level], align_corners=False))
    stacked = torch.stack(reads, dim=-2).flatten(-2)  # [batch * heads, channels, queries, samples]
    weights = attention_weights.transpose(1, 2).reshape(
        batch * heads, 1, queries, len(reads) * points
    )
    output = (stacked * weights).sum(-1).view(batch, heads * channels, queries)
    return output.transpose(1, 2).contiguous().to(value.dtype)


def torch_ms_deform_attn() -> Attention:
    """`torch-ms-deform-attn` of PyPI; 16-bit values go through float32 as under its autocast."""
    operator = importlib.import_module("torch_ms_deform_attn").ms_deform_attn

    def attend(
        value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor
    ) -> Tensor:
        output: Tensor = operator(value.float(), shapes, starts, locations, weights.float())
        return output.to(value.dtype)

    return attend


def published() -> Attention:
    """Deformable DETR's extension, byte for byte SOLQ's, under the name that its setup.py gives."""
    return _pair_of_kernels(importlib.import_module("MultiScaleDeformableAttention"))


def mmcv() -> Attention:
    """mmcv's kernel, with the step that its layers pass."""
    module = importlib.import_module("mmcv.ops.multi_scale_deform_attn")
    return lambda *arguments: module.MultiScaleDeformableAttnFunction.apply(*arguments, 64)


def hugging_face() -> Attention:
    """`kernels-community/deformable-detr`: one built here, or the Hub's through `kernels`."""
    try:
        module = importlib.import_module("deformable_detr")
    except ModuleNotFoundError:
        kernels = importlib.import_module("kernels")
        module = kernels.get_kernel("kernels-community/deformable-detr", version=1)
    return _pair_of_kernels(module)


def _pair_of_kernels(module: ModuleType) -> Attention:
    """A differentiable operator of the published pair of functions, all arguments of one dtype."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, *arguments: Tensor) -> Tensor:
            context.save_for_backward(*arguments)
            output: Tensor = module.ms_deform_attn_forward(*arguments, 64)
            return output

        @staticmethod
        def backward(context: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
            (grad_output,) = grad_outputs
            saved = context.saved_tensors
            value, locations, weights = module.ms_deform_attn_backward(
                *saved, grad_output.contiguous(), 64
            )
            return value, None, None, locations, weights

    def attend(
        value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor
    ) -> Tensor:
        output: Tensor = Function.apply(
            value, shapes, starts, locations.to(value.dtype), weights.to(value.dtype)
        )
        return output

    return attend


PEERS = (
    Peer(
        name="torch-ms-deform-attn",
        distribution="torch-ms-deform-attn",
        devices=("cpu", "cuda"),
        dtypes=ANY,
        load=torch_ms_deform_attn,
    ),
    Peer(
        name="published kernel",
        distribution="MultiScaleDeformableAttention",
        devices=("cuda",),
        dtypes=FLOAT32,
        load=published,
    ),
    Peer(name="mmcv", distribution="mmcv", devices=("cuda",), dtypes=FLOAT32, load=mmcv),
    Peer(
        name="Hugging Face kernel",
        distribution="kernels",
        devices=("cuda",),
        dtypes=ANY,
        load=hugging_face,
    ),
)
