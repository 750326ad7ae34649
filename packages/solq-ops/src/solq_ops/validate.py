"""Argument checks: every mistake is named before a kernel could read a wrong element."""

from collections.abc import Sequence

import torch
from torch import Tensor

Axes = tuple[str, ...]

# Each argument's axes. A name stands for one size, set by the first argument that has it.
_COMMON: dict[str, Axes] = {
    "value": ("batch", "tokens", "heads", "channels"),
    "spatial_shapes": ("levels", "2"),
    "level_start_index": ("levels",),
}
_REFERENCE_POINTS: Axes = ("batch", "queries", "levels", "2 or 4")
_QUERY_HEAD: Axes = ("batch", "queries", "heads")
_AXES: dict[str, Axes] = {
    **_COMMON,
    "sampling_locations": (*_QUERY_HEAD, "levels", "points", "2"),
    "attention_weights": (*_QUERY_HEAD, "levels", "points"),
}
_FLAT_AXES: dict[str, Axes] = {
    **_COMMON,
    "sampling_locations": (*_QUERY_HEAD, "samples", "2"),
    "attention_weights": (*_QUERY_HEAD, "samples"),
}
_FUSED_AXES: dict[str, Axes] = {
    **_COMMON,
    "reference_points": _REFERENCE_POINTS,
    "sampling_offsets": (*_QUERY_HEAD, "levels", "points", "2"),
    "attention_logits": (*_QUERY_HEAD, "levels * points"),
}
_FLAT_FUSED_AXES: dict[str, Axes] = {
    **_COMMON,
    "reference_points": _REFERENCE_POINTS,
    "sampling_offsets": (*_QUERY_HEAD, "samples", "2"),
    "attention_logits": (*_QUERY_HEAD, "samples"),
}
# As long as the row of zeros that compiled kernels read outside a level.
_MAX_CHANNELS = 1024
_FIXED_SIZES = {"2": (2,), "2 or 4": (2, 4)}
_MAY_BE_EMPTY = ("batch", "queries")
# An axis that is set with another.
_AS_IN = {"levels * points": "points"}

_VALUE_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_WIDE_DTYPES = dict.fromkeys(_VALUE_DTYPES, torch.float32) | {torch.float64: torch.float64}
# What may come under autocast, which lifts it if it has to.
_AUTOCAST_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def validate_ms_deform_attn(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    points_per_level: Sequence[int] | None = None,
) -> None:
    """Nothing, or a TypeError or ValueError naming the argument, the expected and what came."""
    arguments = {
        "value": value,
        "spatial_shapes": spatial_shapes,
        "level_start_index": level_start_index,
        "sampling_locations": sampling_locations,
        "attention_weights": attention_weights,
    }
    axes = _AXES if points_per_level is None else _FLAT_AXES
    _check_tensors(arguments, axes, points_per_level, "sampling_locations", ("attention_weights",))


def validate_ms_deform_attn_fused(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_logits: Tensor,
    points_per_level: Sequence[int] | None = None,
) -> None:
    """Nothing, or a TypeError or ValueError naming the argument, the expected and what came."""
    arguments = {
        "value": value,
        "spatial_shapes": spatial_shapes,
        "level_start_index": level_start_index,
        "reference_points": reference_points,
        "sampling_offsets": sampling_offsets,
        "attention_logits": attention_logits,
    }
    axes = _FUSED_AXES if points_per_level is None else _FLAT_FUSED_AXES
    inexact = ("sampling_offsets", "attention_logits")
    _check_tensors(arguments, axes, points_per_level, "reference_points", inexact)


def _check_tensors(
    arguments: dict[str, Tensor],
    axes: dict[str, Axes],
    points_per_level: Sequence[int] | None,
    exact: str,
    inexact: tuple[str, ...],
) -> None:
    """`exact` is the argument that no 16 bits can hold, `inexact` are those they can."""
    for name, argument in arguments.items():
        if not isinstance(argument, Tensor):
            msg = f"{name} must be a torch.Tensor, got {type(argument).__name__}"
            raise TypeError(msg)
    value, spatial_shapes = arguments["value"], arguments["spatial_shapes"]
    _check_dtypes(arguments, exact, inexact)
    sizes = _check_shapes(arguments, axes)
    if sizes["channels"] > _MAX_CHANNELS:
        msg = f"value must have channels <= {_MAX_CHANNELS}, got shape {tuple(value.shape)}"
        raise ValueError(msg)
    if points_per_level is not None:
        _check_points(points_per_level, sizes["levels"], sizes["samples"])
    _check_devices(arguments)
    if _has_readable_numbers(spatial_shapes):
        level_start_index = arguments["level_start_index"]
        _check_levels(sizes["tokens"], spatial_shapes.tolist(), level_start_index.tolist())


def _check_dtypes(arguments: dict[str, Tensor], exact: str, inexact: tuple[str, ...]) -> None:
    value_dtype = arguments["value"].dtype
    if value_dtype not in _VALUE_DTYPES:
        msg = f"value must be {_alternatives(_VALUE_DTYPES)}, got {value_dtype}"
        raise TypeError(msg)
    for name in ("spatial_shapes", "level_start_index"):
        if (dtype := arguments[name].dtype) != torch.int64:
            gradient = " that requires a gradient" if arguments[name].requires_grad else ""
            msg = f"{name} must be torch.int64, got {dtype}{gradient}"
            raise TypeError(msg)
    wide = _WIDE_DTYPES[value_dtype]
    if (dtype := arguments[exact].dtype) != wide:
        reason = (
            " (16 bits place a point up to a cell beside its own)" if dtype.itemsize < 4 else ""
        )
        msg = f"{exact} must be {wide} beside a {value_dtype} value{reason}, got {dtype}"
        raise TypeError(msg)
    first = arguments[inexact[0]].dtype
    for name in inexact:
        dtype = arguments[name].dtype
        if dtype == first and dtype in (value_dtype, wide):
            continue
        if value_dtype != torch.float64 and dtype in _AUTOCAST_DTYPES and _autocasts(arguments):
            continue
        expected = dict.fromkeys((value_dtype, wide))
        beside = f"a {value_dtype} value"
        if dtype in expected:
            expected, beside = {first: None}, f"{first} {inexact[0]}"
        msg = f"{name} must be {_alternatives(expected)} beside {beside}, got {dtype}"
        raise TypeError(msg)


def _alternatives(dtypes: Sequence[torch.dtype] | dict[torch.dtype, None]) -> str:
    return " or ".join(map(str, dtypes))


def _autocasts(arguments: dict[str, Tensor]) -> bool:
    return torch.is_autocast_enabled(arguments["value"].device.type)


def _check_shapes(arguments: dict[str, Tensor], axes_of: dict[str, Axes]) -> dict[str, int]:
    """The size of each named axis."""
    sizes: dict[str, int] = {}
    for name, axes in axes_of.items():
        shape = arguments[name].shape
        if len(shape) != len(axes):
            raise _wrong_shape(name, axes, shape)
        for axis, size in zip(axes, shape, strict=True):
            if axis in _FIXED_SIZES:
                if size not in _FIXED_SIZES[axis]:
                    raise _wrong_shape(name, axes, shape)
            elif axis in sizes:
                if size != sizes[axis]:
                    setter = next(
                        other for other in axes_of if _AS_IN.get(axis, axis) in axes_of[other]
                    )
                    raise _wrong_shape(
                        name, axes, shape, f" with {axis} = {sizes[axis]} as in {setter}"
                    )
            elif size == 0 and axis not in _MAY_BE_EMPTY:
                raise _wrong_shape(name, axes, shape, f" with {axis} >= 1")
            else:
                sizes[axis] = size
                if axis == "points":
                    sizes["levels * points"] = sizes["levels"] * size
    return sizes


def _wrong_shape(name: str, axes: Axes, shape: torch.Size, rule: str = "") -> ValueError:
    return ValueError(f"{name} must be [{', '.join(axes)}]{rule}, got shape {tuple(shape)}")


def _check_points(points_per_level: Sequence[int], levels: int, samples: int) -> None:
    if not isinstance(points_per_level, (list, tuple)) or not all(
        isinstance(points, int) for points in points_per_level
    ):
        msg = f"points_per_level must be a list or tuple of int, got {points_per_level!r}"
        raise TypeError(msg)
    if len(points_per_level) != levels or min(points_per_level) < 1:
        msg = (
            f"points_per_level must hold a number >= 1 for each of {levels} levels, "
            f"got {points_per_level}"
        )
        raise ValueError(msg)
    if sum(points_per_level) != samples:
        msg = (
            f"points_per_level must sum to the {samples} samples of the other arguments, "
            f"got {points_per_level}, which sum to {sum(points_per_level)}"
        )
        raise ValueError(msg)


def _check_devices(arguments: dict[str, Tensor]) -> None:
    expected = arguments["value"].device
    for name, argument in arguments.items():
        if argument.device != expected:
            msg = f"{name} must be on {expected} as value is, got {argument.device}"
            raise ValueError(msg)


def _has_readable_numbers(spatial_shapes: Tensor) -> bool:
    """Whether the level sizes can be read at no cost: not while tracing, not from an accelerator.

    Subclasses are left out because a fake tensor says "cpu" and holds no numbers, and so are the
    wrappers of vmap, which refuse to be read.
    """
    return (
        type(spatial_shapes) is Tensor
        and spatial_shapes.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch._C._functorch.is_functorch_wrapped_tensor(spatial_shapes)
    )


def _check_levels(
    tokens: int, spatial_shapes: list[list[int]], level_start_index: list[int]
) -> None:
    starts, end = [], 0
    for height, width in spatial_shapes:
        if height < 1 or width < 1:
            msg = f"spatial_shapes must hold heights and widths >= 1, got {spatial_shapes}"
            raise ValueError(msg)
        starts.append(end)
        end += height * width
    if end != tokens:
        msg = (
            f"spatial_shapes must cover value's {tokens} tokens, "
            f"got {spatial_shapes}, which cover {end}"
        )
        raise ValueError(msg)
    if level_start_index != starts:
        msg = (
            f"level_start_index must be {starts} for these spatial_shapes, got {level_start_index}"
        )
        raise ValueError(msg)
