"""What the tests share: implementations, random arguments, the definition in float64, errors.

`forms` are the two operators, the fused one with reference points and with reference boxes:
the size of the reference, 0 without one.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from solq_ops import native, reference, registration

Arguments = dict[str, Tensor | list[int]]

_CUDA = [pytest.param("cuda", marks=pytest.mark.cuda)] if torch.cuda.is_available() else []
_COMPILED = ["compiled"] if native.cpu_library else []
FORMS = {"unfused": 0, "points": 2, "boxes": 4}
FIXED = ("spatial_shapes", "level_start_index", "points_per_level")


@pytest.fixture(params=["reference", *_COMPILED, *_CUDA])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """A device with the kernels that run there; the CPU also without its compiled ones."""
    with _running(request.param) as device:
        yield device


@pytest.fixture(params=["reference", *native.instruction_sets(), *_CUDA])
def kernel_device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Like `device`, and the CPU once for each instruction set that this machine can run."""
    with _running(request.param) as device:
        yield device


@pytest.fixture(params=FORMS.values(), ids=FORMS.keys())
def form(request: pytest.FixtureRequest) -> int:
    """Each of the forms."""
    form: int = request.param
    return form


@pytest.fixture
def make_arguments() -> Callable[..., Arguments]:
    """A function sizes → random arguments of the registered operator, a third of them outside."""
    return _make_arguments


@pytest.fixture
def make_levelled() -> Callable[..., Arguments]:
    """Like `make_arguments`, for the public functions: with an axis of levels and one of points."""
    return _make_levelled


@pytest.fixture
def run() -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
    """A function (operator, arguments) → output, and gradients by the arguments' names."""
    return _run


@pytest.fixture
def operator() -> Callable[[int], torch._ops.OpOverload]:
    """A function form → the registered operator."""
    return lambda form: registration.ms_deform_attn_fused if form else registration.ms_deform_attn


@pytest.fixture
def definition() -> Callable[[int], Callable[..., Tensor]]:
    """A function form → the reference."""
    return lambda form: reference.ms_deform_attn_fused if form else reference.ms_deform_attn


@pytest.fixture
def exact_run() -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
    """A function sizes → what `run` gives for the definition in float64, on the same numbers."""
    return _exact_run


@pytest.fixture
def relative_error() -> Callable[[Tensor, Tensor], float]:
    """A function (actual, expected) → the error relative to the expected.

    Of 16-bit numbers the norm of all errors; of wider ones the largest error, over the largest.
    """
    return _relative_error


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """torch.set_num_threads, taken back after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def grid_sample_oracle() -> Callable[..., Tensor]:
    """The operator by `grid_sample`, level by level: another formulation of the same definition."""
    return _grid_sample_oracle


@contextlib.contextmanager
def _running(name: str) -> Iterator[torch.device]:
    if name == "reference":
        with torch.library._scoped_library("solq", "IMPL") as library:
            with warnings.catch_warnings(action="ignore"):  # that a kernel is overridden
                for operator_name, kernel in registration.REFERENCE_KERNELS.items():
                    library.impl(operator_name, kernel, "CPU")
            yield torch.device("cpu")
    elif name in native.instruction_sets():
        assert native.cpu_library is not None
        before = native.cpu_library.describe()["instruction_set"]
        native.select_instruction_set(name)
        yield torch.device("cpu")
        native.select_instruction_set(before)
    else:
        yield torch.device("cuda" if name == "cuda" else "cpu")


def _make_arguments(
    form: int = 0,
    *,
    shapes: tuple[tuple[int, int], ...] = ((7, 5), (1, 1), (3, 8)),
    points: tuple[int, ...] | int = 2,
    batch: int = 2,
    queries: int = 6,
    heads: int = 3,
    channels: int = 4,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    strange: bool = False,
    requires_grad: bool = False,
    seed: int = 0,
) -> Arguments:
    """`strange` makes a third of the samples NaN, infinite or very far.

    No other sample is nearer than 1/128 to a pixel's centre line, where the gradient jumps and the
    least rounding decides on which side; offsets are the same numbers in every dtype.
    """
    points_per_level = [points] * len(shapes) if isinstance(points, int) else list(points)
    uniform = _Uniform(seed)
    wide = torch.promote_types(dtype, torch.float32)
    spatial_shapes = torch.tensor(shapes)
    sizes = spatial_shapes.prod(1)
    samples = (batch, queries, heads, sum(points_per_level))
    centres, boxes, offsets = _places(uniform, spatial_shapes, points_per_level, samples)
    weights = uniform(*samples)
    if form:
        sampled = {
            "reference_points": torch.cat((centres, boxes), -1)[..., :form].to(wide),
            "sampling_offsets": _estranged(uniform, offsets, strange).to(dtype),
            "attention_logits": (weights * 4).to(dtype),
        }
    else:
        locations = reference.sampling_locations(centres, spatial_shapes, offsets, points_per_level)
        sampled = {
            "sampling_locations": _estranged(uniform, locations, strange).to(wide),
            "attention_weights": weights.to(dtype),
        }
    arguments = {
        "value": (uniform(batch, int(sizes.sum()), heads, channels) * 2 - 1).to(dtype),
        "spatial_shapes": spatial_shapes,
        "level_start_index": sizes.cumsum(0) - sizes,
        **sampled,
    }
    on_device: Arguments = {name: tensor.to(device) for name, tensor in arguments.items()}
    on_device["points_per_level"] = points_per_level
    return _with_gradients(on_device) if requires_grad else on_device


class _Uniform:
    """Random float64 numbers in 0..1 of the given sizes, from a seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, dtype=torch.float64)


def _places(
    uniform: _Uniform, spatial_shapes: Tensor, points_per_level: list[int], samples: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Centres and sizes of reference boxes, [batch, queries, levels, 2] each, and offsets.

    Centres are a pixel's plus 1/128, in fractions of the level; offsets from there are steps of
    1/16, in cells or, because of the sizes of the boxes, in 1, 1/2 or 1/4 of them.
    """
    batch, queries = samples[:2]
    extent = spatial_shapes.flip(-1)
    pixels = (uniform(batch, queries, len(extent), 2) * extent).floor()
    centres = (pixels + 0.5 + 1 / 128) / extent
    cells = 2 ** (uniform(batch, queries, len(extent), 2) * 3 - 2).floor()
    boxes = 2 * cells * torch.tensor(points_per_level)[:, None] / extent
    offsets = ((uniform(*samples, 2) - uniform(*samples, 2)) * 80).round() / 16
    return centres, boxes, offsets


def _estranged(uniform: _Uniform, coordinates: Tensor, strange: bool) -> Tensor:
    numbers = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 3e9]).double()
    chosen = numbers[(uniform(*coordinates.shape) * 6).long()]
    return torch.where(uniform(*coordinates.shape) < strange / 6, chosen, coordinates)


def _make_levelled(form: int = 0, *, points: int = 2, **sizes: object) -> Arguments:
    arguments = _make_arguments(form, points=points, **sizes)
    levels = len(arguments.pop("points_per_level"))
    names = ("sampling_offsets",) if form else ("sampling_locations", "attention_weights")
    for name in names:
        flat = arguments[name]
        levelled = flat.detach().unflatten(3, (levels, points))
        arguments[name] = levelled.requires_grad_(flat.requires_grad)
    return arguments


def _with_gradients(arguments: Arguments) -> Arguments:
    """The arguments, with the learned ones as fresh leaves that collect gradients."""
    return {
        name: value if name in FIXED else value.detach().clone().requires_grad_()
        for name, value in arguments.items()
    }


def _run(function: Callable[..., Tensor], arguments: Arguments) -> tuple[Tensor, dict[str, Tensor]]:
    """The gradients of the output's product with noise that depends on its shape only."""
    leaves = _with_gradients(arguments)
    output = function(**leaves)
    noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    # Rounded first, so that every dtype gets the same numbers.
    output.backward(noise.bfloat16().half().to(output))
    return output.detach(), {name: leaf.grad for name, leaf in leaves.items() if name not in FIXED}


@functools.lru_cache(maxsize=64)
def _exact_run(form: int = 0, **sizes: object) -> tuple[Tensor, dict[str, Tensor]]:
    arguments = {
        name: value if name in FIXED else value.double()
        for name, value in _make_arguments(form, **sizes).items()
    }
    return _run(reference.ms_deform_attn_fused if form else reference.ms_deform_attn, arguments)


def _relative_error(actual: Tensor, expected: Tensor) -> float:
    if expected.numel() == 0:
        return 0.0
    order = 2 if actual.dtype.itemsize == 2 else torch.inf
    error = torch.linalg.vector_norm(actual.double().cpu() - expected, order)
    return float(error / torch.linalg.vector_norm(expected, order).clamp(min=1e-30))


def _grid_sample_oracle(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    points_per_level: list[int],
) -> Tensor:
    batch, _, heads, channels = value.shape
    output = value.new_zeros(batch, sampling_locations.shape[1], heads, channels)
    locations = sampling_locations.split(points_per_level, 3)
    weights = attention_weights.split(points_per_level, 3)
    for level, (height, width) in enumerate(spatial_shapes.tolist()):
        start = int(level_start_index[level])
        for head in range(heads):
            image = value[:, start : start + height * width, head].mT.unflatten(-1, (height, width))
            read = F.grid_sample(
                image,
                2 * locations[level][:, :, head] - 1,
                mode="bilinear",
                padding_mode="zeros",
                align_corners=False,
            )  # [batch, channels, queries, points]
            weighed = read * weights[level][:, None, :, head]
            output[:, :, head] += weighed.sum(-1).mT
    return output.flatten(2)
