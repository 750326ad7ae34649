"""Multi-scale deformable attention, forward and backward, against the usual grid_sample one."""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from common import save_json, time_us
from torch import Tensor
from torch.nn import functional as F

from solq_ops import ms_deform_attn

REPEATS = 11


@dataclass(frozen=True, kw_only=True)
class Case:
    """The sizes of one call; with no `queries`, every token is one, as in the encoder."""

    name: str
    batch: int
    levels: tuple[tuple[int, int], ...]
    queries: int | None = None
    heads: int
    channels: int
    points: int


TINY_LEVELS = ((16, 16), (8, 8), (4, 4))
CASES = (
    Case(name="tiny encoder", batch=8, levels=TINY_LEVELS, heads=4, channels=32, points=2),
    Case(
        name="tiny decoder", batch=8, levels=TINY_LEVELS, queries=30, heads=4, channels=32, points=4
    ),
    # One image of 400 x 544: a quarter of the published 800 x 1088, to stay within a minute.
    Case(
        name="R50 encoder, 400 x 544",
        batch=1,
        levels=((50, 68), (25, 34), (13, 17), (7, 9)),
        heads=8,
        channels=48,
        points=4,
    ),
    Case(
        name="R50 decoder, 800 x 1088",
        batch=1,
        levels=((100, 136), (50, 68), (25, 34), (13, 17)),
        queries=300,
        heads=8,
        channels=48,
        points=4,
    ),
)


def grid_sample_attention(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """The same sums the usual way: one grid_sample per level on heads folded into the batch."""
    batch, _, heads, channels = value.shape
    queries = sampling_locations.shape[1]
    images = value.permute(0, 2, 3, 1).flatten(0, 1)  # [batch * heads, channels, tokens]
    grids = (2 * sampling_locations - 1).transpose(1, 2).flatten(0, 1)
    reads = []
    for level, (height, width) in enumerate(spatial_shapes.tolist()):
        start = int(level_start_index[level])
        image = images[..., start : start + height * width].unflatten(-1, (height, width))
        reads.append(F.grid_sample(image, grids[:, :, level], align_corners=False))
    weights = attention_weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    output = (torch.cat(reads, -1) * weights).sum(-1)  # [batch * heads, channels, queries]
    return output.view(batch, heads * channels, queries).transpose(1, 2)


def arguments(case: Case) -> tuple[Tensor, ...]:
    """Random arguments of the operator, with gradients wanted for the learned ones."""
    generator = torch.Generator().manual_seed(0)
    spatial_shapes = torch.tensor(case.levels)
    sizes = spatial_shapes.prod(1)
    tokens = int(sizes.sum())
    queries = tokens if case.queries is None else case.queries
    points = (case.batch, queries, case.heads, len(case.levels), case.points)
    value = torch.randn(case.batch, tokens, case.heads, case.channels, generator=generator)
    locations = torch.rand(*points, 2, generator=generator)
    weights = torch.rand(points, generator=generator)
    learned = (value, locations, weights)
    value, locations, weights = (tensor.requires_grad_() for tensor in learned)
    return value, spatial_shapes, sizes.cumsum(0) - sizes, locations, weights


def measure(case: Case, name: str, function: Callable[..., Tensor]) -> list[dict[str, Any]]:
    """One row for the forward pass, one for the backward pass."""
    inputs = arguments(case)
    output = function(*inputs)
    grad_output = torch.ones_like(output)
    learned = [tensor for tensor in inputs if tensor.requires_grad]

    def backward() -> object:
        return torch.autograd.grad(output, learned, grad_output, retain_graph=True)

    passes = {"forward": lambda: function(*inputs), "backward": backward}
    return [
        {
            "case": asdict(case),
            "implementation": name,
            "pass": direction,
            **{f"{key}_us": value for key, value in time_us(call, repeats=REPEATS).items()},
        }
        for direction, call in passes.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args()
    implementations = {"solq_ops": ms_deform_attn, "grid_sample": grid_sample_attention}
    rows = []
    print(f"{'case':26}{'pass':10}{'implementation':16}{'median':>10}{'IQR':>9}  (ms)")
    for case in CASES:
        for name, function in implementations.items():
            for row in measure(case, name, function):
                rows.append(row)
                times = f"{row['median_us'] / 1e3:10.2f}{row['iqr_us'] / 1e3:9.2f}"
                print(f"{case.name:26}{row['pass']:10}{name:16}{times}")
    save_json(options.output, "ops", rows)


if __name__ == "__main__":
    main()
