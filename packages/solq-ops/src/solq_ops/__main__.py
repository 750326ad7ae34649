"""`python -m solq_ops`: what runs here, and whether it computes what the reference defines."""

import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from . import ops, reference
from .backend import backend

LEVELS = ((12, 16), (6, 8), (3, 4))
POINTS_PER_LEVEL = [4, 4, 2]
BATCH, QUERIES, HEADS, CHANNELS = 2, 40, 4, 48
# Relative errors of the norm, of outputs and of gradients: a rounding of each 16-bit number.
TOLERANCES = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-5, 1e-4),
    torch.bfloat16: (2**-8, 2**-8),
    torch.float16: (2**-11, 2**-11),
}
OPERATORS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "ms_deform_attn": (ops.ms_deform_attn, reference.ms_deform_attn),
    "ms_deform_attn_fused": (ops.ms_deform_attn_fused, reference.ms_deform_attn_fused),
}


def main() -> int:
    """Print `backend()` and a self-check on every device; 0 if all of it is right, or else 1."""
    _print(f"{backend()}\n\nrelative errors against the reference in float64:")
    all_right = True
    for device in _devices():
        for name in OPERATORS:
            for dtype, tolerances in TOLERANCES.items():
                if device.type == "mps" and dtype == torch.float64:
                    continue  # which it does not have
                errors = self_check(name, dtype, device)
                right = all(error <= bound for error, bound in zip(errors, tolerances, strict=True))
                all_right &= right
                _print(
                    f"{device!s:8}{name:22}{str(dtype).removeprefix('torch.'):10}"
                    f"forward {errors[0]:.1e}  backward {errors[1]:.1e}  "
                    f"{'OK' if right else 'FAILED'}"
                )
    _print("OK" if all_right else "FAILED: these results are wrong; please report them")
    return 0 if all_right else 1


def self_check(name: str, dtype: torch.dtype, device: torch.device) -> tuple[float, float]:
    """Relative errors of the output, and of the gradient whose error is the largest."""
    operator, definition = OPERATORS[name]
    arguments = random_arguments(name, dtype)
    exact = [tensor.double() if tensor.is_floating_point() else tensor for tensor in arguments]
    output, *gradients = _run(operator, [tensor.to(device) for tensor in arguments])
    expected, *expected_gradients = _run(definition, exact)
    errors = list(map(_relative_error, gradients, expected_gradients))
    return _relative_error(output, expected), float(torch.tensor(errors).max())  # or NaN


def random_arguments(name: str, dtype: torch.dtype) -> list[Tensor]:
    """The operator's tensors, with points inside and outside the levels.

    No point is nearer than a quarter to a pixel's centre line, where the gradient jumps.
    """
    generator = torch.Generator().manual_seed(0)
    wide = torch.promote_types(dtype, torch.float32)
    spatial_shapes = torch.tensor(LEVELS)
    sizes, extent = spatial_shapes.prod(1), spatial_shapes.flip(-1)
    samples = (BATCH, QUERIES, HEADS, sum(POINTS_PER_LEVEL))

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    pixels = (uniform(BATCH, QUERIES, len(LEVELS), 2) * extent).floor()
    fractions = uniform(BATCH, QUERIES, len(LEVELS), 2) / 2 + 0.25
    references = (pixels + 0.5 + fractions) / extent
    offsets = (uniform(*samples, 2) * 8 - 4).round()  # whole cells
    if name == "ms_deform_attn":
        locations = reference.sampling_locations(
            references, spatial_shapes, offsets, POINTS_PER_LEVEL
        )
        sampled = [locations.to(wide), uniform(*samples).to(dtype)]
    else:
        sampled = [references.to(wide), offsets.to(dtype), uniform(*samples).to(dtype)]
    value = uniform(BATCH, int(sizes.sum()), HEADS, CHANNELS) * 2 - 1
    return [value.to(dtype), spatial_shapes, sizes.cumsum(0) - sizes, *sampled]


def _run(operator: Callable[..., Tensor], arguments: list[Tensor]) -> list[Tensor]:
    """The output, and the gradients of its product with numbers that alternate."""
    leaves = [tensor.requires_grad_() for tensor in arguments if tensor.is_floating_point()]
    output = operator(*arguments, POINTS_PER_LEVEL)
    signs = torch.ones_like(output)
    signs[..., ::2] = -0.5
    return [output.detach(), *torch.autograd.grad(output, leaves, signs)]


def _relative_error(actual: Tensor, expected: Tensor) -> float:
    difference = actual.cpu().double() - expected
    return float(difference.norm() / expected.norm())


def _devices() -> Iterator[torch.device]:
    yield torch.device("cpu")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        for index in range(torch.accelerator.device_count()):
            yield torch.device(accelerator.type, index)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
