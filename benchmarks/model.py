"""Networks: parameters, arithmetic, forward and backward time of the presets on one image."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import interleaved_us, save_json, spread
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import solq_model.attention
from solq_model import SOLQ, ModelConfig, build_model, presets
from solq_ops import ms_deform_attn_fused, reference

ROUNDS = 3

Attention = Callable[..., Tensor]


def reference_attention(
    value: Tensor, shapes: Tensor, starts: Tensor, points: Tensor, offsets: Tensor, logits: Tensor
) -> Tensor:
    """What runs without compiled kernels, as in version 0.1: plain torch."""
    num_levels, num_points = offsets.shape[3:5]
    return reference.ms_deform_attn_fused(
        value, shapes, starts, points, offsets.flatten(3, 4), logits, [num_points] * num_levels
    )


KERNELS: dict[str, Attention] = {"solq_ops": ms_deform_attn_fused}
BEFORE_AND_AFTER = {"reference": reference_attention, **KERNELS}


@dataclass(frozen=True)
class Case:
    """A preset on an image, (height, width), with each of several deformable attentions."""

    name: str
    preset: Callable[[], ModelConfig]
    image_size: tuple[int, int]
    attentions: dict[str, Attention]


CASES = (
    Case("tiny", presets.tiny, (128, 128), KERNELS),
    Case("r50", presets.r50, (400, 544), KERNELS),
    Case("r101", presets.r101, (400, 544), KERNELS),
    Case("swin_t", presets.swin_t, (400, 544), KERNELS),
    Case("swin_l", presets.swin_l, (400, 544), KERNELS),
    Case("r50", presets.r50, (800, 1088), BEFORE_AND_AFTER),
)


def measure(case: Case) -> list[dict[str, Any]]:
    """One row for each attention: what the network costs for one image."""
    torch.manual_seed(0)
    model = build_model(case.preset()).eval()
    image = torch.randn(3, *case.image_size)
    # With gradients: the counter follows modules by autograd hooks, which no_grad breaks.
    with FlopCounterMode(display=False) as counter:
        model([image])
    forwards = {name: forward(model, image, each) for name, each in case.attentions.items()}
    steps = {name: step(model, image, each) for name, each in case.attentions.items()}
    times = {
        kind: interleaved_us(functions, rounds=(ROUNDS, ROUNDS), seconds=0)
        for kind, functions in (("forward", forwards), ("step", steps))
    }
    return [
        {
            "preset": case.name,
            "image_size": list(case.image_size),
            "attention": name,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            # Sums of products only, as torch counts them: no gathers of deformable attention.
            "gflops": counter.get_total_flops() / 1e9,
            **{
                f"{kind}_{key}_us": value
                for kind, samples in times.items()
                for key, value in spread(samples[name]).items()
            },
            "slower_than_solq_ops": {
                kind: spread(
                    [
                        theirs / ours
                        for theirs, ours in zip(samples[name], samples["solq_ops"], strict=True)
                    ]
                )
                for kind, samples in times.items()
            },
        }
        for name in case.attentions
    ]


def forward(model: SOLQ, image: Tensor, attention: Attention) -> Callable[[], object]:
    @torch.no_grad()
    def call() -> object:
        with mock.patch.object(solq_model.attention, "ms_deform_attn_fused", attention):
            return model([image])

    return call


def step(model: SOLQ, image: Tensor, attention: Attention) -> Callable[[], object]:
    def call() -> None:
        with mock.patch.object(solq_model.attention, "ms_deform_attn_fused", attention):
            predictions = model([image])
        total = predictions.logits.sum() + predictions.boxes.sum() + predictions.mask_vectors.sum()
        total.backward()

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args()
    rows = []
    titles = f"{'M params':>10}{'GFLOPs':>9}{'forward':>10}{'+ backward':>12} (ms)"
    print(f"{'preset':8}{'image':>12}  {'attention':10}{titles}")
    for case in CASES:
        for row in measure(case):
            rows.append(row)
            height, width = case.image_size
            times = f"{row['forward_median_us'] / 1e3:10.1f}{row['step_median_us'] / 1e3:12.1f}"
            costs = f"{row['parameters'] / 1e6:10.2f}{row['gflops']:9.2f}"
            print(f"{case.name:8}{f'{height} x {width}':>12}  {row['attention']:10}{costs}{times}")
    save_json(options.output, "model", rows)


if __name__ == "__main__":
    main()
