"""The published checkpoints: opened without running pickled code, their names mapped onto ours."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from solq_model.config import ModelConfig
from solq_model.solq import SOLQ

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


def load_official_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state dict (`model`) of a published `.pth` file.

    The file pickles an `argparse.Namespace` beside the weights. Only tensors, plain values and
    that one class are admitted; anything else in the file is refused, never executed.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"checkpoint {path}: no such file"
        raise ValueError(msg)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Any kind: a damaged file leads the unpickler into IndexError, struct.error and others.
        msg = f"checkpoint {path}: expected a published .pth file, but {_reason(error)}"
        raise ValueError(msg) from error
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        keys = sorted(map(str, content))[:8] if isinstance(content, dict) else None
        found = keys or type(content).__name__
        msg = f"checkpoint {path}: expected a dict with the weights under 'model', found {found}"
        raise ValueError(msg)
    return state


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if refused := re.search(r"(?:GLOBAL|unsupported class|unrecognized function) ([\w.]+)", text):
        return f"it holds {refused[1]}, which is neither weights nor a plain value"
    if not text:
        return "it ends too early"
    if isinstance(error, pickle.UnpicklingError):
        # torch's own words advise to run whatever the file holds.
        return "it is not a file of weights"
    return f"it cannot be read: {text.splitlines()[0]}"


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


def load_official_state_dict(model: SOLQ, state: Mapping[str, Tensor]) -> None:
    """Load published weights into the model; strict: each tensor of either side has its partner.

    Constants of the checkpoint have to equal ours.
    """
    state = dict(state)
    missing, wrong, unequal, weights = [], [], [], {}
    for name, constant in official_constants(model).items():
        if name not in state:
            missing.append(name)
        elif not torch.equal(state.pop(name).to(constant.device), constant):
            unequal.append(name)
    for our_name, tensor in model.state_dict().items():
        if our_name.endswith("num_batches_tracked"):
            continue  # torch's batch norm counts batches; the published frozen one does not
        names = official_names(our_name, model.config)
        absent = [name for name in names if name not in state]
        missing += absent
        if absent:
            continue
        weights[our_name] = state[names[-1]]
        for name in names:
            if state[name].shape != tensor.shape:
                wrong.append(f"{name} {tuple(state[name].shape)}, expected {tuple(tensor.shape)}")
            del state[name]
    problems = {
        "missing": missing,
        "of another shape": wrong,
        "unequal to the constant that the configuration gives": unequal,
        "left over": list(state),
    }
    if any(problems.values()):
        raise ValueError(_mismatch(model.config, problems))
    model.load_state_dict(weights, strict=False)


def _mismatch(config: ModelConfig, problems: dict[str, list[str]]) -> str:
    parts = [
        f"the published weights do not fit this model ({config.backbone}, "
        f"{config.num_classes} class slots, hidden {config.hidden_dim})"
    ]
    for what, names in problems.items():
        if names:
            shown = "; ".join(names[:4]) + ("; …" if len(names) > 4 else "")
            parts.append(f"{len(names)} {what}: {shown}")
    return ". ".join(parts)
