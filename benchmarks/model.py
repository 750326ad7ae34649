"""Networks: parameters, arithmetic, forward and backward time of the presets on one image."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import save_json, time_us
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from solq_model import SOLQ, ModelConfig, build_model, presets

REPEATS = 3
CASES: tuple[tuple[str, Callable[[], ModelConfig], tuple[int, int]], ...] = (
    ("tiny", presets.tiny, (128, 128)),
    ("r50", presets.r50, (400, 544)),
    ("r101", presets.r101, (400, 544)),
)


def measure(name: str, model: SOLQ, image: Tensor) -> dict[str, Any]:
    """One row: what the network costs for one image."""

    def forward() -> object:
        with torch.no_grad():
            return model([image])

    def step() -> None:
        predictions = model([image])
        total = predictions.logits.sum() + predictions.boxes.sum() + predictions.mask_vectors.sum()
        total.backward()

    # With gradients: the counter follows modules by autograd hooks, which no_grad breaks.
    with FlopCounterMode(display=False) as counter:
        model([image])
    return {
        "preset": name,
        "image_size": list(image.shape[1:]),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        # Sums of products only, as torch counts them: deformable attention's gathers are not in it.
        "gflops": counter.get_total_flops() / 1e9,
        **{f"forward_{key}_us": value for key, value in time_us(forward, repeats=REPEATS).items()},
        **{f"step_{key}_us": value for key, value in time_us(step, repeats=REPEATS).items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args()
    rows = []
    titles = f"{'M params':>10}{'GFLOPs':>9}{'forward':>10}{'+ backward':>12} (ms)"
    print(f"{'preset':8}{'image':>12}{titles}")
    for name, preset, (height, width) in CASES:
        torch.manual_seed(0)
        row = measure(name, build_model(preset()).eval(), torch.randn(3, height, width))
        rows.append(row)
        times = f"{row['forward_median_us'] / 1e3:10.1f}{row['step_median_us'] / 1e3:12.1f}"
        costs = f"{row['parameters'] / 1e6:10.2f}{row['gflops']:9.2f}"
        print(f"{name:8}{f'{height} x {width}':>12}{costs}{times}")
    save_json(options.output, "model", rows)


if __name__ == "__main__":
    main()
