"""What the tests share: devices, each dtype's tolerance, sample inputs, an independent oracle."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

Inputs = dict[str, Tensor]


DEVICES = ["cpu"]
if torch.cuda.is_available():
    DEVICES += [pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device of this machine."""
    return torch.device(request.param)


@pytest.fixture
def tolerance() -> Callable[[torch.dtype], dict[str, float]]:
    """A function dtype → the error allowed against float64 on the same inputs.

    The half dtypes round only the result, of size one to two: two units in their last place.
    float32 also rounds positions, times up to 64 pixels, and sums of up to 64 terms.
    """
    bounds = {
        torch.float64: 1e-12,
        torch.float32: 2e-5,
        torch.float16: 2e-3,
        torch.bfloat16: 1.6e-2,
    }
    return lambda dtype: {"rtol": bounds[dtype], "atol": bounds[dtype]}


@pytest.fixture
def sample_inputs() -> Callable[..., Inputs]:
    """A function sizes → random arguments of the operator, with a third of the points outside."""
    return _sample_inputs


@pytest.fixture
def grid_sample_oracle() -> Callable[..., Tensor]:
    """The operator by `grid_sample`, level by level: another formulation of the same definition."""
    return _grid_sample_oracle


def _sample_inputs(
    shapes: tuple[tuple[int, int], ...] = ((7, 5), (1, 1), (3, 8)),
    *,
    batch: int = 2,
    queries: int = 6,
    heads: int = 3,
    channels: int = 4,
    points: int = 2,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    levels = len(shapes)
    spatial_shapes = torch.tensor(shapes)
    sizes = spatial_shapes.prod(1)
    value = torch.randn(
        batch, int(sizes.sum()), heads, channels, generator=generator, dtype=torch.float64
    )
    locations = torch.rand(
        batch, queries, heads, levels, points, 2, generator=generator, dtype=torch.float64
    )
    weights = torch.rand(
        batch, queries, heads, levels, points, generator=generator, dtype=torch.float64
    )
    return {
        "value": value.to(device, dtype),
        "spatial_shapes": spatial_shapes.to(device),
        "level_start_index": (sizes.cumsum(0) - sizes).to(device),
        "sampling_locations": (locations * 1.5 - 0.25).to(device, dtype),
        "attention_weights": weights.to(device, dtype),
    }


def _grid_sample_oracle(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    batch, _, heads, channels = value.shape
    output = value.new_zeros(batch, sampling_locations.shape[1], heads, channels)
    for level, (height, width) in enumerate(spatial_shapes.tolist()):
        start = int(level_start_index[level])
        for head in range(heads):
            image = value[:, start : start + height * width, head].mT.unflatten(-1, (height, width))
            read = F.grid_sample(
                image,
                2 * sampling_locations[:, :, head, level] - 1,
                mode="bilinear",
                padding_mode="zeros",
                align_corners=False,
            )  # [batch, channels, queries, points]
            weighed = read * attention_weights[:, None, :, head, level]
            output[:, :, head] += weighed.sum(-1).mT
    return output.flatten(2)
