"""The CUDA kernels, run on the host by the stand-in of tests/emulation, against the reference."""

import ctypes
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from solq_ops import reference

HERE = Path(__file__).parent
KERNELS = HERE.parent / "csrc" / "cuda"
SANITIZER = "SOLQ_TEST_SANITIZER"  # in the environment: a -fsanitize= option for the emulation

# Relative to the largest element, or, for 16 bits, in the L2 norm; (forward, gradients).
TOLERANCES = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-5, 1e-4),
    torch.bfloat16: (2**-8, 2**-8),
    torch.float16: (2**-11, 2**-11),
}
DTYPES = tuple(TOLERANCES)
RAGGED = ((7, 5), (1, 1), (3, 8))
# A position this near to a whole pixel may be rounded to its other side, where the gradient of the
# location is another one.
NEAR_PIXEL = 2e-5


class Problem(ctypes.Structure):
    """csrc/problem.h: Problem."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "tokens", "heads", "channels", "queries")),
        ("samples", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("levels", "reference_size")),
        *((name, ctypes.c_int32) for name in ("value_dtype", "aux_dtype")),
        *((name, ctypes.c_void_p) for name in ("spatial_shapes", "level_start_index")),
        *((name, ctypes.c_void_p) for name in ("points_per_level", "value", "reference_points")),
        *((name, ctypes.c_void_p) for name in ("coordinates", "weights")),
    )


class Gradients(ctypes.Structure):
    """csrc/problem.h: Gradients."""

    _fields_ = tuple(
        (name, ctypes.c_void_p)
        for name in ("output", "value", "reference_points", "coordinates", "weights")
    )


class Device(ctypes.Structure):
    """csrc/cuda/plan.h: Device."""

    _fields_ = tuple(
        (name, ctypes.c_int32) for name in ("multiprocessors", "shared_bytes", "on_chip_queries")
    )


NEVER = 2**31 - 1
SMALL_BLOCKS = Device(132, 227 << 10, NEVER)
LARGE_BLOCKS = Device(1, 227 << 10, NEVER)  # one multiprocessor is kept busy by few blocks
ON_CHIP = Device(2, 40 << 10, 1)  # all small levels' sums are made in shared memory


@dataclass(frozen=True, kw_only=True)
class Call:
    """The tensors of one call, `reference_points` None for given locations."""

    value: Tensor
    spatial_shapes: Tensor
    level_start_index: Tensor
    reference_points: Tensor | None
    coordinates: Tensor
    weights: Tensor
    points_per_level: tuple[int, ...]
    grad_output: Tensor

    def problem(self) -> Problem:
        batch, tokens, heads, channels = self.value.shape
        points = (ctypes.c_int64 * len(self.points_per_level))(*self.points_per_level)
        problem = Problem(
            batch,
            tokens,
            heads,
            channels,
            self.coordinates.shape[1],
            self.coordinates.shape[3],
            len(self.points_per_level),
            0 if self.reference_points is None else self.reference_points.shape[-1],
            DTYPES.index(self.value.dtype),
            DTYPES.index(self.weights.dtype),
            self.spatial_shapes.data_ptr(),
            self.level_start_index.data_ptr(),
            ctypes.addressof(points),
            self.value.data_ptr(),
            None if self.reference_points is None else self.reference_points.data_ptr(),
            self.coordinates.data_ptr(),
            self.weights.data_ptr(),
        )
        problem.keep_alive = points
        return problem


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a call is made from; `wide` weights have the dtype of the arithmetic."""

    shapes: tuple[tuple[int, int], ...] = RAGGED
    points: tuple[int, ...] = (2, 2, 2)
    batch: int = 2
    queries: int = 6
    heads: int = 3
    channels: int = 4
    dtype: torch.dtype = torch.float32
    reference_size: int = 0
    wide: bool = True
    seed: int = 0


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def per_sample(per_level: Tensor, points: tuple[int, ...]) -> Tensor:
    return per_level.repeat_interleave(torch.tensor(points), dim=-2)


def locations_of(call: Call) -> Tensor:
    """Sampling locations: the definition of the fused form."""
    points = call.points_per_level
    if call.reference_points is None:
        return call.coordinates
    size = per_sample(call.spatial_shapes.flip(-1), points)  # [samples, 2], (x, y)
    anchor = per_sample(call.reference_points, points)[:, :, None]
    if anchor.shape[-1] == 2:
        return anchor + call.coordinates / size
    count = per_sample(torch.tensor(points)[:, None], points)
    return anchor[..., :2] + call.coordinates / count * anchor[..., 2:] * 0.5


def pixels_of(call: Call) -> Tensor:
    size = per_sample(call.spatial_shapes.flip(-1), call.points_per_level)
    return locations_of(call) * size - 0.5


def as_float64(call: Call) -> Call:
    floating = {
        name: tensor.double()
        for name, tensor in vars(call).items()
        if isinstance(tensor, Tensor) and tensor.is_floating_point()
    }
    return replace(call, **floating)


def make_call(sizes: Sizes) -> Call:
    """Random arguments, a third of the points outside, none close to a whole pixel."""
    for seed in range(sizes.seed, sizes.seed + 100):
        call = _make_call(replace(sizes, seed=seed))
        pixels = pixels_of(as_float64(call))
        if ((pixels - pixels.round()).abs() > NEAR_PIXEL).all():
            return call
    raise AssertionError(sizes)


def _make_call(sizes: Sizes) -> Call:
    generator = torch.Generator().manual_seed(sizes.seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    shapes = torch.tensor(sizes.shapes)
    areas = shapes.prod(1)
    levels, samples = len(sizes.shapes), sum(sizes.points)
    outer = (sizes.batch, sizes.queries)
    compute = compute_dtype(sizes.dtype)
    aux = compute if sizes.wide else sizes.dtype
    references = None
    if sizes.reference_size == 0:
        coordinates = (uniform(*outer, sizes.heads, samples, 2) * 1.5 - 0.25).to(compute)
        weights = uniform(*outer, sizes.heads, samples).to(aux)
    else:
        references = uniform(*outer, levels, sizes.reference_size).to(compute)
        coordinates = (2 * normal(*outer, sizes.heads, samples, 2)).to(aux)
        weights = normal(*outer, sizes.heads, samples).to(aux)
    return Call(
        value=normal(sizes.batch, int(areas.sum()), sizes.heads, sizes.channels).to(sizes.dtype),
        spatial_shapes=shapes,
        level_start_index=areas.cumsum(0) - areas,
        reference_points=references,
        coordinates=coordinates,
        weights=weights,
        points_per_level=sizes.points,
        grad_output=normal(*outer, sizes.heads * sizes.channels).to(sizes.dtype),
    )


class Emulation:
    """The kernels as functions of calls."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.emulated_forward.restype = ctypes.c_char_p
        self._library.emulated_backward.restype = ctypes.c_char_p
        self._library.emulated_workspace_bytes.restype = ctypes.c_uint64

    def forward(self, call: Call, *, device: Device = SMALL_BLOCKS, seed: int = 0) -> Tensor:
        output = torch.full_like(call.grad_output, torch.nan)
        error = self._library.emulated_forward(
            ctypes.byref(call.problem()),
            ctypes.byref(device),
            ctypes.c_uint64(seed),
            ctypes.c_void_p(output.data_ptr()),
        )
        if error:
            raise ValueError(error.decode())
        return output

    def backward(
        self,
        call: Call,
        *,
        deterministic: bool = False,
        device: Device = SMALL_BLOCKS,
        seed: int = 0,
    ) -> tuple[Tensor, ...]:
        problem = call.problem()
        inputs = (call.value, call.reference_points, call.coordinates, call.weights)
        results = [None if x is None else torch.full_like(x, torch.nan) for x in inputs]
        size = self._library.emulated_workspace_bytes(ctypes.byref(problem), deterministic)
        workspace = torch.full((size,), 255, dtype=torch.uint8)
        gradients = Gradients(
            call.grad_output.data_ptr(), *(None if x is None else x.data_ptr() for x in results)
        )
        error = self._library.emulated_backward(
            ctypes.byref(problem),
            ctypes.byref(gradients),
            deterministic,
            ctypes.byref(device),
            ctypes.c_uint64(seed),
            ctypes.c_void_p(workspace.data_ptr()),
        )
        if error:
            raise ValueError(error.decode())
        return tuple(x for x in results if x is not None)


@pytest.fixture(scope="session")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Emulation:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler: the CUDA kernels are not tested")
    library = tmp_path_factory.mktemp("emulation") / "emulated.so"
    options = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    if os.environ.get(SANITIZER):
        options += ["-O1", f"-fsanitize={os.environ[SANITIZER]}", "-fno-sanitize-recover=all"]
    command = [*compiler.split(), *options, "-shared", "-fPIC", f"-I{HERE / 'emulation'}"]
    command += [f"-I{KERNELS}", str(HERE / "emulation" / "emulated.cpp"), "-o", str(library)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return Emulation(library)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def expected(call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The reference's output and gradients in float64."""
    exact = as_float64(call)
    inputs = [exact.value, exact.reference_points, exact.coordinates, exact.weights]
    leaves = [x.requires_grad_() for x in inputs if x is not None]
    weights = exact.weights if exact.reference_points is None else exact.weights.softmax(-1)
    output = reference.ms_deform_attn(
        exact.value,
        exact.spatial_shapes,
        exact.level_start_index,
        locations_of(exact),
        weights,
        exact.points_per_level,
    )
    return output.detach(), torch.autograd.grad(output, leaves, exact.grad_output)


def assert_close(result: Tensor, exact: Tensor, tolerance: float) -> None:
    assert result.shape == exact.shape
    error = result.double() - exact
    if result.dtype in (torch.float32, torch.float64):
        scale, size = exact.abs().amax(), error.abs().amax()
    else:
        scale, size = exact.norm(), error.norm()
    assert size <= tolerance * scale, f"error {size / scale:.3g} > {tolerance:.3g}"


def check(emulation: Emulation, call: Call, **options: object) -> None:
    """Holds forward and backward against the reference."""
    output, gradients = expected(call)
    device = options.get("device", SMALL_BLOCKS)
    forward, backward = TOLERANCES[call.value.dtype]
    if call.grad_output.numel():
        assert_close(emulation.forward(call, device=device), output, forward)
    for result, exact in zip(emulation.backward(call, **options), gradients, strict=True):
        # Gradients of 32 bits beside 16-bit values are rounded to 32 only.
        if exact.numel():
            tolerance = backward if result.dtype == call.value.dtype else 1e-4
            assert_close(result, exact, tolerance)


CHANNELS = (1, 2, 3, 7, 8, 16, 30, 31, 32, 33, 47, 48, 49, 64, 65, 71, 80, 128, 256)
OTHER_CHANNELS = sorted({*range(1, 81), 1000, 1024} - set(CHANNELS))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "channels", [*CHANNELS, *(pytest.param(n, marks=pytest.mark.slow) for n in OTHER_CHANNELS)]
)
def test_any_number_of_channels_equals_the_reference(
    emulation: Emulation, channels: int, dtype: torch.dtype
) -> None:
    sizes = Sizes(channels=channels, dtype=dtype, queries=3, seed=channels)
    check(emulation, make_call(sizes))
    check(emulation, make_call(replace(sizes, reference_size=2 + channels % 2 * 2, wide=False)))


@pytest.mark.parametrize(
    "device", [SMALL_BLOCKS, LARGE_BLOCKS, ON_CHIP], ids=["small", "large", "on chip"]
)
@pytest.mark.parametrize("deterministic", [False, True], ids=["atomic", "deterministic"])
@pytest.mark.parametrize("reference_size", [0, 2, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_mode_and_block_size_equals_the_reference(
    emulation: Emulation,
    dtype: torch.dtype,
    reference_size: int,
    deterministic: bool,
    device: Device,
) -> None:
    for channels in (24, 48):
        sizes = Sizes(channels=channels, dtype=dtype, reference_size=reference_size, queries=21)
        check(emulation, make_call(sizes), deterministic=deterministic, device=device)


@pytest.mark.parametrize("points", [1, 3, 8, 40])
@pytest.mark.parametrize("levels", [1, 2, 5, 8])
@pytest.mark.parametrize("reference_size", [0, 2, 4])
def test_any_levels_and_points_equal_the_reference(
    emulation: Emulation, levels: int, points: int, reference_size: int
) -> None:
    shapes = ((9, 4), (1, 1), (5, 7), (1, 6), (3, 1), (2, 2), (4, 4), (1, 2))[:levels]
    sizes = Sizes(
        shapes=shapes,
        points=(points,) * levels,
        reference_size=reference_size,
        channels=16,
        queries=3,
        seed=levels * points,
    )
    check(emulation, make_call(sizes))


@pytest.mark.parametrize("reference_size", [0, 2, 4])
@pytest.mark.parametrize("points", [(4, 1, 7), (0, 3, 2), (2, 0, 0), (0, 0, 5)])
def test_points_may_differ_per_level(
    emulation: Emulation, points: tuple[int, ...], reference_size: int
) -> None:
    call = make_call(Sizes(points=points, reference_size=reference_size, channels=48))
    for device in (SMALL_BLOCKS, ON_CHIP):
        check(emulation, call, device=device)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("reference_size", [0, 4])
@pytest.mark.parametrize(("batch", "queries"), [(0, 3), (1, 1), (2, 0), (65, 2), (127, 1)])
def test_any_batch_and_queries_equal_the_reference(
    emulation: Emulation, batch: int, queries: int, reference_size: int, deterministic: bool
) -> None:
    sizes = Sizes(batch=batch, queries=queries, reference_size=reference_size, channels=8)
    check(emulation, make_call(sizes), deterministic=deterministic)


@pytest.mark.parametrize("heads", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_any_number_of_heads_equals_the_reference(
    emulation: Emulation, heads: int, dtype: torch.dtype
) -> None:
    for device in (SMALL_BLOCKS, LARGE_BLOCKS):
        check(emulation, make_call(Sizes(heads=heads, channels=48, dtype=dtype)), device=device)


@pytest.mark.parametrize("shapes", [((19, 13), (10, 7), (1, 1)), ((1, 50), (33, 1)), ((8, 4),)])
def test_queries_of_an_encoder_are_all_served(
    emulation: Emulation, shapes: tuple[tuple[int, int], ...]
) -> None:
    tokens = sum(height * width for height, width in shapes)
    sizes = Sizes(
        shapes=shapes, points=(2,) * len(shapes), queries=tokens, heads=2, channels=48, batch=1
    )
    call = make_call(sizes)
    for device in (SMALL_BLOCKS, LARGE_BLOCKS, ON_CHIP):
        check(emulation, call, device=device)


def test_as_many_queries_as_tokens_need_not_be_an_encoder(emulation: Emulation) -> None:
    call = make_call(Sizes(shapes=((3, 4), (2, 4)), points=(2, 2), queries=20))
    for shapes, starts in (([[3, 4], [2, 3]], [0, 12]), ([[3, 4], [2, 4]], [8, 0])):
        other = replace(
            call, spatial_shapes=torch.tensor(shapes), level_start_index=torch.tensor(starts)
        )
        for device in (SMALL_BLOCKS, LARGE_BLOCKS):
            assert_close(emulation.forward(other, device=device), expected(other)[0], 1e-5)


def test_rows_at_odd_addresses_are_read_in_smaller_pieces(emulation: Emulation) -> None:
    call = make_call(Sizes(channels=48, queries=3))
    memory = torch.empty(call.value.numel() + 1)
    moved = memory[1:].view_as(call.value).copy_(call.value)
    check(emulation, replace(call, value=moved))


@pytest.mark.parametrize("reference_size", [0, 2, 4])
@pytest.mark.parametrize("deterministic", [False, True])
def test_points_on_borders_and_whole_pixels_equal_the_reference(
    emulation: Emulation, reference_size: int, deterministic: bool
) -> None:
    # In maps of powers of two such positions are exact, and so are both sides of the comparison.
    call = _make_call(
        Sizes(shapes=((4, 8),), points=(130,), batch=1, queries=2, heads=1, channels=48)
    )
    x, y = torch.meshgrid(torch.arange(-2, 9.5), torch.arange(-2, 9.0), indexing="ij")
    pixels = torch.stack((x, y), -1).flatten(0, 1)[:130].add(torch.tensor((0.0, 0.5)))
    pixels = torch.stack((pixels, pixels.flip(-1)))[None, :, None]
    size = torch.tensor((8.0, 4.0))
    if reference_size == 0:
        call = replace(call, coordinates=((pixels + 0.5) / size).contiguous())
    else:
        middle = torch.full((1, 2, 1, reference_size), 0.5)
        offsets = pixels + 0.5 - size / 2
        if reference_size == 4:
            offsets = offsets / size * 130 / 0.5 / 0.5
        call = replace(call, reference_points=middle, coordinates=offsets.contiguous())
    if reference_size < 4:  # offsets / 130 are not exact
        assert torch.equal(pixels_of(call), pixels)
        check(emulation, call, deterministic=deterministic)
    else:
        output, _ = expected(call)
        assert_close(emulation.forward(call), output, 1e-5)


@pytest.mark.parametrize("reference_size", [0, 2, 4])
@pytest.mark.parametrize("outside", [torch.nan, torch.inf, -torch.inf, 1e30, -3e38, 1e3])
def test_points_that_are_nowhere_contribute_nothing(
    emulation: Emulation, outside: float, reference_size: int
) -> None:
    call = make_call(Sizes(channels=48, reference_size=reference_size))
    nowhere = torch.rand(call.weights.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    coordinates = call.coordinates.clone()
    coordinates[..., 0][nowhere] = outside
    finite = coordinates.clone()
    finite[..., 0][nowhere] = 1e4  # what is outside the float64 reference, too
    call = replace(call, coordinates=coordinates)
    output, gradients = expected(replace(call, coordinates=finite))
    assert_close(emulation.forward(call), output, 1e-5)
    for deterministic in (False, True):
        results = emulation.backward(call, deterministic=deterministic)
        for result, exact in zip(results, gradients, strict=True):
            assert_close(result, exact, 1e-4)
        assert (results[-2][nowhere] == 0).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_lies_outside_a_level_does_not_leak(emulation: Emulation, bad: float) -> None:
    # Three levels of which only the middle one is read, at points around all its borders.
    call = make_call(Sizes(shapes=((4, 6), (5, 3), (6, 4)), points=(0, 24, 0), channels=48))
    value = call.value.clone()
    value[:, :24] = value[:, 39:] = bad
    clean = replace(call, value=call.value.clone())
    call = replace(call, value=value)
    assert torch.equal(emulation.forward(call), emulation.forward(clean))
    for result, exact in zip(emulation.backward(call), emulation.backward(clean), strict=True):
        torch.testing.assert_close(result, exact)


CORRUPT = [
    ((-5, 3), 35),
    ((5, -3), 35),
    ((0, 4), 35),
    ((1, 1), -1),
    ((1, 1), 60),
    ((2, 3), 56),
    ((2**40, 1), 0),
    ((2**32, 2**32), 0),
    ((2**62, 2), 2**62),
    ((1, 1), -(2**63)),
    ((1, 1), 2**63 - 1),
]


@pytest.mark.parametrize("reference_size", [0, 2, 4])
@pytest.mark.parametrize("device", [SMALL_BLOCKS, ON_CHIP], ids=["small", "on chip"])
@pytest.mark.parametrize(("shape", "start"), CORRUPT)
def test_a_level_outside_the_tokens_gives_nan_and_touches_nothing(
    emulation: Emulation,
    shape: tuple[int, int],
    start: int,
    device: Device,
    reference_size: int,
) -> None:
    call = make_call(Sizes(channels=48, reference_size=reference_size, queries=60))
    shapes, starts = call.spatial_shapes.clone(), call.level_start_index.clone()
    shapes[1], starts[1] = torch.tensor(shape), start
    broken = replace(call, spatial_shapes=shapes, level_start_index=starts)
    assert emulation.forward(broken, device=device).isnan().all()
    for deterministic in (False, True):
        grad_value, *_, coordinates, weights = emulation.backward(
            broken, device=device, deterministic=deterministic
        )
        assert grad_value.isfinite().all()
        assert coordinates[..., 2:4, :].isnan().all()
        assert coordinates[..., :2, :].isfinite().all()
        assert weights[..., 2:4].isnan().all()
    # A level that nobody reads may be anything.
    unread = replace(broken, points_per_level=(3, 0, 3))
    assert emulation.forward(unread, device=device).isfinite().all()


SIZES_TO_REPEAT = [
    Sizes(channels=48, queries=40, shapes=((2, 3), (4, 4)), points=(3, 2)),
    Sizes(channels=48, queries=22, shapes=((2, 3), (4, 4)), points=(3, 2), reference_size=2),
    Sizes(channels=48, queries=9, shapes=((2, 3),), points=(8,), reference_size=4),
    Sizes(channels=7, queries=9, shapes=((1, 3),), points=(8,)),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sizes", SIZES_TO_REPEAT)
def test_deterministic_gradients_do_not_depend_on_the_order(
    emulation: Emulation, sizes: Sizes, dtype: torch.dtype
) -> None:
    call = make_call(replace(sizes, dtype=dtype))
    for device in (SMALL_BLOCKS, LARGE_BLOCKS, ON_CHIP):
        first = emulation.backward(call, deterministic=True, device=device)
        for seed in (1, 2, 3):
            again = emulation.backward(call, deterministic=True, device=device, seed=seed)
            assert all(map(torch.equal, first, again))
    # Without the mode they would: the comparison above is able to see it.
    others = [emulation.backward(call, seed=seed, device=LARGE_BLOCKS) for seed in range(4)]
    if dtype in (torch.float32, torch.float64):
        assert not all(torch.equal(others[0][0], other[0]) for other in others)
    assert all(
        torch.equal(a, b) for other in others for a, b in zip(others[0][1:], other[1:], strict=True)
    )


def test_deterministic_gradients_are_the_same_a_hundred_times(emulation: Emulation) -> None:
    call = make_call(Sizes(channels=3, queries=8, shapes=((2, 2),), points=(2,), batch=1))
    first = emulation.backward(call, deterministic=True)
    for seed in range(1, 101):
        again = emulation.backward(call, deterministic=True, seed=seed)
        assert all(map(torch.equal, first, again))


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_deterministic_gradients_keep_their_precision_at_any_scale(
    emulation: Emulation, scale: float
) -> None:
    call = make_call(Sizes(channels=48))
    check(emulation, replace(call, grad_output=call.grad_output * scale), deterministic=True)
    scaled = replace(call, weights=call.weights * scale)
    for result, exact in zip(
        emulation.backward(scaled, deterministic=True), expected(scaled)[1], strict=True
    ):
        assert_close(result, exact, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("reference_size", [0, 2])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_deterministic_grad_value_is_nan_where_something_is_not_finite(
    emulation: Emulation, bad: float, reference_size: int, dtype: torch.dtype
) -> None:
    call = make_call(Sizes(channels=48, reference_size=reference_size, dtype=dtype))
    for name in ("grad_output", "weights"):
        broken = getattr(call, name).clone()
        broken.view(-1)[5] = bad
        for device in (SMALL_BLOCKS, ON_CHIP):
            grad_value, *_ = emulation.backward(
                replace(call, **{name: broken}), deterministic=True, device=device
            )
            assert grad_value.isnan().all()


def test_sums_of_many_16_bit_contributions_are_exact_to_one_percent(emulation: Emulation) -> None:
    call = make_call(
        Sizes(shapes=((1, 1),), points=(31,), queries=42, heads=1, batch=1, dtype=torch.bfloat16)
    )
    middle = torch.full_like(call.coordinates, 0.5)
    positive = call.grad_output.abs()
    check(emulation, replace(call, coordinates=middle + 1e-3, grad_output=positive))


def test_values_beyond_two_to_the_31_elements_are_found(emulation: Emulation) -> None:
    shape = (2048, 1032)
    tokens = shape[0] * shape[1]
    # Zeros, of which only the pages that somebody touches take memory.
    memory = mmap.mmap(-1, 2 * tokens * 16 * 32 * torch.bfloat16.itemsize)
    value = torch.frombuffer(memory, dtype=torch.bfloat16).view(2, tokens, 16, 32)
    assert value.numel() > 2**31
    value[1, -1] = torch.arange(16 * 32).view(16, 32)
    corner = 1 - 0.5 / torch.tensor(shape[::-1])
    call = Call(
        value=value,
        spatial_shapes=torch.tensor([shape]),
        level_start_index=torch.tensor([0]),
        reference_points=None,
        coordinates=corner.expand(2, 1, 16, 1, 2).contiguous(),
        weights=torch.ones(2, 1, 16, 1),
        points_per_level=(1,),
        grad_output=torch.zeros(2, 1, 512, dtype=torch.bfloat16),
    )
    output = emulation.forward(call)
    assert (output[0] == 0).all()
    assert torch.equal(output[1, 0], value[1, -1].flatten())


def test_masked_samples_take_no_part(emulation: Emulation) -> None:
    call = make_call(Sizes(channels=48, reference_size=2))
    weights = call.weights.clone()
    weights[..., ::2] = -torch.inf
    check(emulation, replace(call, weights=weights))


def test_too_many_levels_are_refused(emulation: Emulation) -> None:
    call = make_call(Sizes(shapes=((1, 1),) * 257, points=(1,) * 257, queries=1, batch=1))
    with pytest.raises(ValueError, match="at most 256 levels"):
        emulation.forward(call)
    check(emulation, make_call(Sizes(shapes=((1, 1),) * 256, points=(1,) * 256, queries=1)))


@pytest.mark.slow
def test_the_kernels_stay_inside_their_memory() -> None:
    """This file's edge cases once more, with everything read and written watched."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None or os.environ.get(SANITIZER):
        pytest.skip("no C++ compiler, or this is the watched run")
    library = subprocess.run(
        [*compiler.split(), "-print-file-name=libasan.so"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if not Path(library).is_file():
        pytest.skip("the compiler has no address sanitizer")
    environment = {
        **os.environ,
        SANITIZER: "address,undefined",
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "OMP_NUM_THREADS": "1",
    }
    chosen = "outside_the_tokens or borders or encoder or differ_per_level or odd_addresses"
    command = [sys.executable, "-m", "pytest", "-qs", "-p", "no:cacheprovider", "-k", chosen]
    ran = subprocess.run(
        [*command, str(Path(__file__))],
        env=environment,
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
