"""The published names: how those of a checkpoint map onto ours, and loading by that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from solq_model.config import ModelConfig
from solq_model.mask_codec import PCAMaskCodec
from solq_model.published.foreign import describe_names
from solq_model.solq import SOLQ
from solq_model.weights import advice_on, check_finite, is_class_head, shape_of

Role = Literal["weight", "copy", "copy that differs", "constant", "codec", "reset"]

# The parts of a PCA codec, which the published model holds as a module of its own.
COMPONENTS = {
    "components": "processor_pca.components",
    "mean": "processor_pca.means",
    "explained_variance": "processor_pca.explained_variances",
}

# Ours → published, by prefix; the first rule that matches counts. Leaves keep their names unless
# a rule of LEAVES says otherwise.
PREFIXES = (
    (r"backbone\.body\.(.*)\.conv2\.offset\.", r"backbone.0.body.\1.conv2_offset."),
    (r"backbone\.body\.", "backbone.0.body."),
    (r"neck\.projections\.", "input_proj."),
    (r"neck\.positions\.rows\.", "backbone.1.row_embed."),
    (r"neck\.positions\.columns\.", "backbone.1.col_embed."),
    (r"level_embedding$", "transformer.level_embed"),
    (r"encoder\.layers\.", "transformer.encoder.layers."),
    (r"decoder\.layers\.", "transformer.decoder.layers."),
    (r"queries\.embedding\.", "query_embed."),
    (r"queries\.reference_points\.", "transformer.reference_points."),
    (r"queries\.project\.", "transformer.pos_trans."),
    (r"queries\.norm\.", "transformer.pos_trans_norm."),
    (r"queries\.head\.project\.", "transformer.enc_output."),
    (r"queries\.head\.norm\.", "transformer.enc_output_norm."),
)
SPATIAL_HEAD = (
    (r"spatial_head\.attention\.query_projection\.", "bbox_attention.q_linear."),
    (r"spatial_head\.attention\.key_projection\.", "bbox_attention.k_linear."),
    (r"spatial_head\.reductions\.", "seg_input_proj."),
    *((rf"spatial_head\.convolutions\.{i}\.", f"mask_head.lay{i + 1}.") for i in range(5)),
    *((rf"spatial_head\.norms\.{i}\.", f"mask_head.gn{i + 1}.") for i in range(5)),
    *((rf"spatial_head\.adapters\.{i}\.", f"mask_head.adapter{i + 1}.") for i in range(3)),
    (r"spatial_head\.output\.", "mask_head.out_lay."),
)
ENCODER_LEAVES = (
    (r"\.attention\.", ".self_attn."),
    (r"(layers\.\d+)\.norm\.", r"\1.norm1."),
    (r"\.feedforward\.norm\.", ".norm2."),
)
DECODER_LEAVES = (
    (r"\.self_attention\.", ".self_attn."),
    (r"\.cross_attention\.", ".cross_attn."),
    (r"\.cross_norm\.", ".norm1."),
    (r"\.self_norm\.", ".norm2."),
    (r"\.feedforward\.norm\.", ".norm3."),
)
SHARED_LEAVES = (
    (r"\.feedforward\.", "."),
    (r"\.value_projection\.", ".value_proj."),
    (r"\.output_projection\.", ".output_proj."),
)


def official_names(our_name: str, config: ModelConfig) -> tuple[str, ...]:
    """The published names of one of our tensors; the last is the one that counts.

    The published modules share tensors, so a checkpoint holds some of them several times. Where
    such copies differ the last one wins, as in `torch.nn.Module.load_state_dict`.
    """
    for pattern, replacement in SPATIAL_HEAD:
        name, count = re.subn("^" + pattern, replacement, our_name)
        if count:
            return (name,)
    # The published head of spatial masks is a module around the detector.
    around = "detr." if config.mask_head == "spatial" else ""
    return tuple(around + name for name in _detector_names(our_name, config))


def _detector_names(our_name: str, config: ModelConfig) -> tuple[str, ...]:
    if match := re.match(r"(class|box)_heads\.heads\.(\d+)\.(.*)", our_name):
        return _head_names(match[1], int(match[2]), match[3], config)
    if match := re.match(r"queries\.head\.(class|box)_head\.(.*)", our_name):
        return _head_names(match[1], config.decoder_layers, match[2], config)
    if match := re.match(r"vector_head\.mlp\.(.*)", our_name):
        return tuple(f"vector_embed.{layer}.{match[1]}" for layer in range(_num_heads(config)))
    for pattern, replacement in PREFIXES:
        name, count = re.subn("^" + pattern, replacement, our_name)
        if count:
            leaves = DECODER_LEAVES if our_name.startswith("decoder") else ENCODER_LEAVES
            transformer = our_name.startswith(("encoder", "decoder"))
            for old, new in (*leaves, *SHARED_LEAVES) if transformer else ():
                name = re.sub(old, new, name)
            return (name,)
    msg = f"{our_name} has no counterpart in the published code"
    raise ValueError(msg)


def _num_heads(config: ModelConfig) -> int:
    return config.decoder_layers + int(config.two_stage)


def _head_names(kind: str, layer: int, leaf: str, config: ModelConfig) -> tuple[str, ...]:
    layers = [layer] if config.box_refinement else list(range(_num_heads(config)))
    published = {"class": "class_embed", "box": "bbox_embed"}[kind]
    names = [f"{published}.{index}.{leaf}" for index in layers]
    # The published decoder holds the box heads too, to refine; with two stages the class heads.
    held = config.box_refinement if kind == "box" else config.two_stage
    copies = [f"transformer.decoder.{name}" for name in names] if held else []
    return (*copies, *names)


def official_constants(model: SOLQ) -> dict[str, Tensor]:
    """What published checkpoints hold and we do not, because it follows from the configuration.

    By published name: the buffers that the model does not save.
    """
    saved = model.state_dict().keys()
    return {
        official_names(name, model.config)[-1]: buffer
        for name, buffer in model.named_buffers()
        if name not in saved
    }


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """What became of one published tensor."""

    published: str
    shape: tuple[int, ...]
    role: Role
    ours: str
    """The name of our tensor; of a constant, which we do not save, the published one; of a part of
    a PCA codec its name in `SOLQ.codec`."""


def load_official_state_dict(
    model: SOLQ, state: Mapping[str, Tensor], *, reset_head: bool = False
) -> tuple[Mapped, ...]:
    """Load published weights into the model; what became of each, in the order of the state.

    Strict: each tensor of either side has its partner, and constants of the checkpoint equal ours.
    With `reset_head` the class heads keep the values they have.
    """
    match = _Match(state)
    match.constants(official_constants(model))
    if model.config.codec == "pca":
        match.components()
    for our_name, tensor in model.state_dict().items():
        is_reset = reset_head and is_class_head(our_name)
        match.weight(our_name, official_names(our_name, model.config), tensor, is_reset=is_reset)
    match.check(model.config)
    taken = [mapped for mapped in match.found.values() if mapped.role in ("weight", "codec")]
    check_finite({mapped.published: state[mapped.published] for mapped in taken})
    weights = {m.ours: state[m.published] for m in taken if m.role == "weight"}
    if COMPONENTS["components"] in match.found:
        model.codec = _codec(state)
    model.load_state_dict(weights, strict=False)
    return tuple(match.found[name] for name in state)


def _codec(state: Mapping[str, Tensor]) -> PCAMaskCodec:
    """The published PCA codec, which whitens and takes log-odds (models/pca.py)."""
    parts = {ours: state[name].cpu().numpy() for ours, name in COMPONENTS.items()}
    return PCAMaskCodec(
        components=parts["components"],
        mean=parts["mean"],
        explained_variance=parts["explained_variance"],
        whiten=True,
        logit=True,
    )


class _Match:
    """The partners of published tensors, as far as they were looked for, and what has none."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state
        self.found: dict[str, Mapped] = {}
        self.missing: list[str] = []
        self.misshapen: list[str] = []
        self.unequal: list[str] = []
        self.misfits: list[str] = []  # our names of what is missing or misshapen

    def constants(self, expected: Mapping[str, Tensor]) -> None:
        """Look for tensors that follow from the configuration, by their published names."""
        for name, constant in expected.items():
            if name not in self.state:
                self.missing.append(name)
                self.misfits.append(name)
                continue
            self._add(name, "constant", name)
            if not torch.equal(self.state[name].to(constant.device), constant):
                self.unequal.append(name)

    def components(self) -> None:
        """Look for the parts of a PCA codec; without any, the model's codec stays as it is."""
        held = [name for name in COMPONENTS.values() if name in self.state]
        for ours, name in COMPONENTS.items() if held else ():
            if name in self.state:
                self._add(name, "codec", f"codec.{ours}")
            else:
                self.missing.append(name)
                self.misfits.append(name)

    def weight(self, ours: str, names: tuple[str, ...], tensor: Tensor, *, is_reset: bool) -> None:
        """Look for a weight by its published names, all but one of which may be absent.

        The published modules share tensors; of such, a safetensors file may hold one copy only.
        """
        held = [name for name in names if name in self.state]
        # Torch's batch norm counts batches; the published frozen one does not.
        if not held and not is_reset and not ours.endswith("num_batches_tracked"):
            self.missing.append(names[-1])
            self.misfits.append(ours)
        for name in held:
            self._add(name, "reset" if is_reset else self._role(name, held[-1]), ours)
            if self.state[name].shape != tensor.shape and not is_reset:
                shapes = f"{shape_of(self.state[name])}, expected {shape_of(tensor)}"
                self.misshapen.append(f"{name} {shapes}")
                self.misfits.append(ours)

    def _role(self, name: str, last: str) -> Role:
        if name == last:
            return "weight"
        same = torch.equal(self.state[name], self.state[last])
        return "copy" if same else "copy that differs"

    def _add(self, published: str, role: Role, ours: str) -> None:
        shape = tuple(self.state[published].shape)
        self.found[published] = Mapped(published=published, shape=shape, role=role, ours=ours)

    def check(self, config: ModelConfig) -> None:
        """ValueError where a tensor of either side is without its partner."""
        problems = {
            "missing": self.missing,
            "of another shape": self.misshapen,
            "unequal to the constant that the configuration gives": self.unequal,
            "left over": [name for name in self.state if name not in self.found],
        }
        parts = [
            f"the published weights do not fit this model ({config.backbone}, "
            f"{config.num_classes} class slots, hidden {config.hidden_dim})"
        ]
        for what, names in problems.items():
            if names:
                shown = "; ".join(names[:4]) + ("; …" if len(names) > 4 else "")
                parts.append(f"{len(names)} {what}: {shown}")
        if len(parts) == 1:
            return
        if not self.found:
            parts = [f"expected a published SOLQ checkpoint, found {describe_names(self.state)}"]
        elif not problems["left over"] and not self.unequal:
            parts += advice_on(self.misfits)
        raise ValueError(". ".join(parts))
