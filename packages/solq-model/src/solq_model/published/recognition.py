"""Recognition: published names and shapes → the configuration of the network that has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from solq_model import presets
from solq_model.config import ModelConfig
from solq_model.published.foreign import PUBLISHED, describe_names, family_of

BODY = "backbone.0.body."
ENCODER, DECODER = "transformer.encoder.layers.", "transformer.decoder.layers."
# Blocks of each stage, the convolutions of a block, the width of the stem.
RESNETS: dict[tuple[tuple[int, ...], int, int], str] = {
    ((1, 1, 1, 1), 2, 32): "resnet10_w32",
    ((2, 2, 2, 2), 2, 64): "resnet18",
    ((3, 4, 6, 3), 2, 64): "resnet34",
    ((3, 4, 6, 3), 3, 64): "resnet50",
    ((3, 4, 23, 3), 3, 64): "resnet101",
}
# What shapes cannot say: our field and the published option, where there is one.
OPTIONS: dict[str, str | None] = {
    "num_heads": "nheads",
    "activation": "activation",
    "dropout": "dropout",
    "dilation": "dilation",
    "mask_size": "gt_mask_len",
    "first_mask_layer": "vector_start_stage",
    "image_short_side": None,
    "image_max_size": None,
    "num_queries": "num_queries",  # of two stages, which have no tensor for each query
}


class Shapes:
    """What can be read off the names and shapes of a state."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state

    def size(self, name: str, axis: int) -> int:
        """The length of one axis of a tensor that has to be there."""
        tensor = self.state.get(name)
        if tensor is None or tensor.ndim <= axis:
            found = "absent" if tensor is None else str(tuple(tensor.shape))
            msg = f"published weights must hold {name} with {axis + 1} axes or more, it is {found}"
            raise ValueError(msg)
        return tensor.shape[axis]

    def has(self, prefix: str) -> bool:
        """Whether any name begins so."""
        return any(name.startswith(prefix) for name in self.state)

    def count(self, prefix: str) -> int:
        """How many different numbers follow the prefix, as of layers in a list."""
        pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
        return len({match[1] for name in self.state if (match := pattern.match(name))})

    def differ(self, name: str, other: str) -> bool:
        """Whether both tensors are there with different values."""
        a, b = self.state.get(name), self.state.get(other)
        if a is None or b is None or a.is_meta or b.is_meta:
            return False
        return not torch.equal(a, b)


FROM_SHAPES: dict[str, Callable[[Shapes], Any]] = {
    "backbone": lambda s: _backbone(s),
    "backbone_norm": lambda s: "batch" if f"{BODY}bn1.num_batches_tracked" in s.state else "frozen",
    "deformable_convolutions": lambda s: any(".conv2_offset." in name for name in s.state),
    "mask_head": lambda s: _mask_head(s),
    "num_classes": lambda s: s.size("class_embed.0.weight", 0),
    "hidden_dim": lambda s: s.size("transformer.level_embed", 1),
    "num_feature_levels": lambda s: s.size("transformer.level_embed", 0),
    "encoder_layers": lambda s: s.count(ENCODER),
    "decoder_layers": lambda s: s.count(DECODER),
    "feedforward_dim": lambda s: s.size(f"{ENCODER}0.linear1.weight", 0),
    "position_embedding": lambda s: "learned" if s.has("backbone.1.row_embed.") else "sine",
    "two_stage": lambda s: s.has("transformer.enc_output."),
    "box_refinement": lambda s: (
        s.has("transformer.decoder.bbox_embed.")
        # Copies of shared tensors may be left out of a file; heads that differ are not shared.
        or s.differ("bbox_embed.0.layers.0.weight", "bbox_embed.1.layers.0.weight")
    ),
}
FROM_VECTOR_HEAD: dict[str, Callable[[Shapes], Any]] = {
    "codec": lambda s: "pca" if s.has("processor_pca.") else "dct",
    "vector_hidden_dim": lambda s: s.size("vector_embed.0.layers.0.weight", 0),
    "num_coefficients": lambda s: s.size("vector_embed.0.layers.2.weight", 0),
}


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """The configuration of published weights, and where that comes from which no shape tells."""

    config: ModelConfig
    from_options: tuple[str, ...]
    """Fields read from the options beside the weights."""
    on_trust: tuple[str, ...]
    """Fields that nothing in the file tells: the preset's values."""


def recognise(
    state: Mapping[str, Tensor],
    options: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> ModelConfig:
    """The configuration of the network that has these published weights; see `examine`."""
    return examine(state, options, changes).config


def examine(
    state: Mapping[str, Tensor],
    options: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Recognition:
    """The configuration that names and shapes tell, and where the rest of it comes from.

    `options` is the published command line that lies beside the weights; it settles what shapes
    cannot say. `changes` are fields of the configuration that count whatever the file says.
    """
    if family_of(state) != PUBLISHED:
        msg = f"expected published SOLQ or Deformable DETR weights, found {describe_names(state)}"
        raise ValueError(msg)
    # Spatial masks are put around a detector, whose names then have a prefix.
    inner = {name.removeprefix("detr."): tensor for name, tensor in state.items()}
    options, changes, shapes = options or {}, changes or {}, Shapes(inner)
    told = {name: read(shapes) for name, read in FROM_SHAPES.items()}
    if told["mask_head"] == "vector":
        told |= {name: read(shapes) for name, read in FROM_VECTOR_HEAD.items()}
    if told.get("codec") == "pca":
        told["mask_size"] = isqrt(shapes.size("processor_pca.means", 0))
    if told["position_embedding"] == "learned":
        told["position_cells"] = shapes.size("backbone.1.row_embed.weight", 0)
    if not told["two_stage"]:
        told["num_queries"] = shapes.size("query_embed.weight", 0)
    untold = _untold(told)
    optional = {
        ours: options[theirs] for ours, theirs in untold.items() if theirs and theirs in options
    }
    values = asdict(_preset(told["backbone"])) | told | optional | dict(changes)
    points = _points(shapes, ModelConfig.from_json(values))
    return Recognition(
        config=ModelConfig.from_json(values | points | dict(changes)),
        from_options=tuple(name for name in optional if name not in changes),
        on_trust=tuple(name for name in untold if name not in optional and name not in changes),
    )


def _mask_head(shapes: Shapes) -> str:
    if shapes.has("vector_embed."):
        return "vector"
    return "spatial" if shapes.has("seg_input_proj.") else "none"


def _untold(told: Mapping[str, Any]) -> dict[str, str | None]:
    """Fields that shapes do not tell of this network, and the published options that do."""
    needless = set()
    if told["backbone"].startswith("swin"):
        needless.add("dilation")
    if told["mask_head"] != "vector":
        needless |= {"mask_size", "first_mask_layer"}
    needless |= told.keys()
    return {ours: theirs for ours, theirs in OPTIONS.items() if ours not in needless}


def _points(shapes: Shapes, config: ModelConfig) -> dict[str, int]:
    """The sampling points of each attention; shapes tell heads x levels x points."""
    points = {}
    for name, attention in (
        ("encoder_points", f"{ENCODER}0.self_attn"),
        ("decoder_points", f"{DECODER}0.cross_attn"),
    ):
        samples = shapes.size(f"{attention}.attention_weights.bias", 0)
        per_point = config.num_heads * config.num_feature_levels
        if samples % per_point:
            msg = (
                f"{attention} takes {samples} samples, which are no multiple of "
                f"{config.num_heads} heads x {config.num_feature_levels} levels; "
                "num_heads cannot be read off shapes: give the right one"
            )
            raise ValueError(msg)
        points[name] = samples // per_point
    return points


def _preset(backbone: str) -> ModelConfig:
    """The preset with this backbone, or else R50's, for what only training needs to know."""
    made = (presets.r50, presets.r101, presets.swin_t, presets.swin_s, presets.swin_b)
    configs = [make() for make in (*made, presets.swin_l)]
    known: dict[str, ModelConfig] = {config.backbone: config for config in configs}
    return known.get(backbone, presets.r50())


def _backbone(shapes: Shapes) -> str:
    if shapes.has(f"{BODY}patch_embed."):
        # Here, because torchvision, which it stands on, takes seconds to import.
        from solq_model.backbones.swin import SIZES

        width = shapes.size(f"{BODY}patch_embed.proj.weight", 0)
        depths = tuple(shapes.count(f"{BODY}layers.{stage}.blocks.") for stage in range(4))
        for name, size in SIZES.items():
            if (width, depths) == (size.width, size.depths):
                return name
        known = "; ".join(f"{s.width}, {s.depths} ({name})" for name, s in SIZES.items())
        msg = f"a Swin Transformer of width {width} and depths {depths} is none of {known}"
        raise ValueError(msg)
    blocks = tuple(shapes.count(f"{BODY}layer{stage}.") for stage in range(1, 5))
    convolutions = 3 if shapes.has(f"{BODY}layer1.0.conv3.") else 2
    stem = shapes.size(f"{BODY}conv1.weight", 0)
    if (blocks, convolutions, stem) not in RESNETS:
        known = "; ".join(f"{key} ({name})" for key, name in RESNETS.items())
        msg = (
            f"a ResNet of {blocks} blocks of {convolutions} convolutions with a stem of {stem} "
            f"channels is none of {known}"
        )
        raise ValueError(msg)
    return RESNETS[blocks, convolutions, stem]
