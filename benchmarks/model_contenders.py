"""Who computes a network like SOLQ R50, as calls: forward, and a training step."""

import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from model_published import published_model
from torch import Tensor, nn

import solq_model.attention
from solq_model import ModelConfig, Predictions, build_model, presets
from solq_ops import reference

OURS, CHECKPOINTING, REFERENCE = "solq_model", "checkpointing", "torch attention"
PUBLISHED, TRANSFORMERS = "published", "transformers"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A network, and what it predicts for one image `[3, height, width]`."""

    model: nn.Module
    predict: Callable[[Tensor], list[Tensor]]

    @torch.inference_mode()
    def forward(self, image: Tensor) -> object:
        return self.predict(image)

    def step(self, image: Tensor) -> None:
        """Forward and backward as in training, with dropout, for the sum of all outputs."""
        self.model.train()
        torch.stack([output.sum() for output in self.predict(image)]).sum().backward()
        self.model.zero_grad(set_to_none=True)
        self.model.eval()


def all_presets() -> dict[str, Callable[[], ModelConfig]]:
    """Every preset by its name, in the order of the file."""
    return {
        name: function
        for name, function in vars(presets).items()
        if inspect.isfunction(function)
        and function.__module__ == presets.__name__
        and not name.startswith("_")
    }


def contender(name: str, checkout: Path | None) -> Contender:
    """One of `contenders`, or the preset of that name, with fresh weights."""
    torch.manual_seed(0)
    if name == PUBLISHED:
        assert checkout is not None
        published = published_model(checkout).eval()
        return Contender(model=published, predict=partial(predict_published, published))
    if name == TRANSFORMERS:
        detector = deformable_detr().eval()
        return Contender(model=detector, predict=partial(predict_transformers, detector))
    model = build_model(all_presets().get(name, presets.r50)()).eval()
    if name == CHECKPOINTING:
        model.checkpoint_activations()
    attention = plain_attention if name == REFERENCE else nullcontext
    return Contender(model=model, predict=partial(predict_ours, model, attention))


def contenders(checkout: Path | None, *, with_checkpointing: bool) -> tuple[str, ...]:
    """Their names, ours first; forward there is nothing to checkpoint."""
    names = [OURS, REFERENCE]
    names += [CHECKPOINTING] if with_checkpointing else []
    names += [PUBLISHED] if checkout else []
    names += [TRANSFORMERS] if importlib.util.find_spec("transformers") else []
    return tuple(names)


def state_of(checkout: Path | None) -> dict[str, str]:
    """What was found to compare with, or how to get it."""
    missing = "absent: its rows are left out; see benchmarks/README.md"
    has_transformers = importlib.util.find_spec("transformers") is not None
    version = importlib.metadata.version("transformers") if has_transformers else missing
    return {PUBLISHED: "a checkout" if checkout else missing, TRANSFORMERS: version}


def predict_ours(
    model: Callable[[list[Tensor]], Predictions],
    attention: Callable[[], AbstractContextManager[object]],
    image: Tensor,
) -> list[Tensor]:
    with attention():
        found = model([image])
    outputs = [found.logits, found.boxes, found.mask_vectors]
    return [output for output in outputs if output is not None]


def predict_published(model: nn.Module, image: Tensor) -> list[Tensor]:
    found = model([image])
    return [found["pred_logits"], found["pred_boxes"], found["pred_vectors"]]


def predict_transformers(model: nn.Module, image: Tensor) -> list[Tensor]:
    found = model(pixel_values=image[None])
    return [found.logits, found.pred_boxes]


def plain_attention() -> AbstractContextManager[object]:
    """Within it, our networks attend in plain torch, as without compiled kernels."""
    return mock.patch.object(solq_model.attention, "ms_deform_attn_fused", reference_attention)


def reference_attention(
    value: Tensor, shapes: Tensor, starts: Tensor, points: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    num_levels, num_points = offsets.shape[3:5]
    return reference.ms_deform_attn_fused(
        value, shapes, starts, points, offsets.flatten(3, 4), logits, [num_points] * num_levels
    )


def deformable_detr() -> nn.Module:
    """Transformers' Deformable DETR with R50's sizes; it has no mask vectors."""
    import transformers

    size = presets.r50()
    config = transformers.DeformableDetrConfig(
        use_timm_backbone=False,
        backbone=None,
        use_pretrained_backbone=False,
        backbone_config=transformers.ResNetConfig(out_features=["stage2", "stage3", "stage4"]),
        disable_custom_kernels=True,
        d_model=size.hidden_dim,
        encoder_ffn_dim=size.feedforward_dim,
        decoder_ffn_dim=size.feedforward_dim,
        num_queries=size.num_queries,
        num_labels=size.num_classes,
        with_box_refine=True,
    )
    model: nn.Module = transformers.DeformableDetrForObjectDetection(config)
    return model
