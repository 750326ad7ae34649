"""Argument checks: every mistake is named before a kernel could read a wrong element."""

import torch
from torch import Tensor

# Each argument's axes. A name stands for one size, set by the first argument that has it.
_AXES: dict[str, tuple[str | int, ...]] = {
    "value": ("batch", "tokens", "heads", "channels"),
    "spatial_shapes": ("levels", 2),
    "level_start_index": ("levels",),
    "sampling_locations": ("batch", "queries", "heads", "levels", "points", 2),
    "attention_weights": ("batch", "queries", "heads", "levels", "points"),
}
_MAY_BE_EMPTY = ("batch", "queries")
_VALUE_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def validate_ms_deform_attn(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> None:
    """Nothing, or a TypeError or ValueError naming the argument, the expected and what came."""
    arguments = {
        "value": value,
        "spatial_shapes": spatial_shapes,
        "level_start_index": level_start_index,
        "sampling_locations": sampling_locations,
        "attention_weights": attention_weights,
    }
    for name, argument in arguments.items():
        if not isinstance(argument, Tensor):
            msg = f"{name} must be a torch.Tensor, got {type(argument).__name__}"
            raise TypeError(msg)
    _check_dtypes(arguments)
    _check_shapes(arguments)
    _check_devices(arguments)
    if _has_readable_numbers(spatial_shapes):
        _check_levels(value.shape[1], spatial_shapes.tolist(), level_start_index.tolist())


def _check_dtypes(arguments: dict[str, Tensor]) -> None:
    value_dtype = arguments["value"].dtype
    # Autocast produces wider coordinates than values; narrower ones would lose the position.
    wider_dtype = torch.promote_types(value_dtype, torch.float32)
    coordinate_dtypes = (value_dtype,) if wider_dtype == value_dtype else (value_dtype, wider_dtype)
    expected_dtypes = {
        "value": _VALUE_DTYPES,
        "spatial_shapes": (torch.int64,),
        "level_start_index": (torch.int64,),
        "sampling_locations": coordinate_dtypes,
        "attention_weights": coordinate_dtypes,
    }
    for name, expected in expected_dtypes.items():
        dtype = arguments[name].dtype
        if dtype not in expected:
            beside = f" beside a {value_dtype} value" if expected is coordinate_dtypes else ""
            msg = f"{name} must be {' or '.join(map(str, expected))}{beside}, got {dtype}"
            raise TypeError(msg)


def _check_shapes(arguments: dict[str, Tensor]) -> None:
    known: dict[str, tuple[int, str]] = {}  # axis → its size, and the argument that set it
    for name, axes in _AXES.items():
        shape = tuple(arguments[name].shape)
        wanted = f"{name} must be [{', '.join(map(str, axes))}]"
        if len(shape) != len(axes) or (axes[-1] == 2 and shape[-1] != 2):
            msg = f"{wanted}, got shape {shape}"
            raise ValueError(msg)
        for axis, size in zip(axes, shape, strict=True):
            if isinstance(axis, int):
                continue
            expected, setter = known.setdefault(axis, (size, name))
            if size != expected:
                msg = f"{wanted} with {axis} = {expected} as in {setter}, got shape {shape}"
                raise ValueError(msg)
            if size == 0 and axis not in _MAY_BE_EMPTY:
                msg = f"{wanted} with {axis} >= 1, got shape {shape}"
                raise ValueError(msg)


def _check_devices(arguments: dict[str, Tensor]) -> None:
    expected = arguments["value"].device
    for name, argument in arguments.items():
        if argument.device != expected:
            msg = f"{name} must be on {expected} as value is, got {argument.device}"
            raise ValueError(msg)


def _has_readable_numbers(spatial_shapes: Tensor) -> bool:
    """Whether the level sizes can be read at no cost: not while tracing, not from an accelerator.

    Subclasses are left out because a fake tensor says "cpu" and holds no numbers.
    """
    return (
        not torch.compiler.is_compiling()
        and type(spatial_shapes) is Tensor
        and spatial_shapes.device.type == "cpu"
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
