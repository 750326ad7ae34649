"""NumPy arrays and torch tensors behind one spelling, without ever importing torch."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", bound="NDArray[Any] | torch.Tensor")


def array_namespace(**arguments: object) -> Any:
    """The module, `numpy` or `torch`, that all the named arguments belong to.

    Both modules spell what this package needs alike (`@`, indexing, `amin`, `concatenate`, …), so
    that one implementation serves both. A tensor can only exist where torch has been imported
    already, hence the look into `sys.modules`.
    """
    torch = sys.modules.get("torch")
    found: dict[str, Any] = {}
    for name, array in arguments.items():
        if isinstance(array, np.ndarray):
            found[name] = np
        elif torch is not None and isinstance(array, torch.Tensor):
            found[name] = torch
        else:
            msg = f"{name} must be a NumPy array or a torch tensor, got {type(array).__name__}"
            raise TypeError(msg)
    if len(set(found.values())) > 1:
        kinds = ", ".join(f"{name}: {module.__name__}" for name, module in found.items())
        msg = f"{' and '.join(found)} must all be NumPy arrays or all torch tensors, got {kinds}"
        raise TypeError(msg)
    return next(iter(found.values()))


def as_float(name: str, array: Any) -> Any:
    """The array as float64 if that is what it is, else as float32 (bfloat16 and bool too)."""
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "biuf":
            msg = f"{name} must hold bool, integer or float numbers, got dtype {array.dtype}"
            raise ValueError(msg)
        wide = array.dtype == np.float64
        return array.astype(np.float64 if wide else np.float32, copy=False)
    if array.is_complex():
        msg = f"{name} must hold bool, integer or float numbers, got dtype {array.dtype}"
        raise ValueError(msg)
    torch = sys.modules["torch"]
    return array.to(torch.float64 if array.dtype == torch.float64 else torch.float32)


def constant(values: NDArray[Any], like: Any) -> Any:
    """The values where `like` lives: floats take its dtype, integers and bools keep theirs.

    Tensors are made anew at each call. A cache of them would break autograd when it is first
    filled under `torch.inference_mode`, and these constants are a few kilobytes.
    """
    is_float = values.dtype.kind == "f"
    if isinstance(like, np.ndarray):
        return values.astype(like.dtype, copy=False) if is_float else values
    torch = sys.modules["torch"]
    return torch.tensor(values, dtype=like.dtype if is_float else None, device=like.device)


def zeros(shape: tuple[int, ...], like: Any, dtype: Any = None) -> Any:
    """Zeros where `like` lives, of its dtype or of the given one."""
    dtype = like.dtype if dtype is None else dtype
    if isinstance(like, np.ndarray):
        return np.zeros(shape, dtype)
    return sys.modules["torch"].zeros(shape, dtype=dtype, device=like.device)


def take(array: Any, indices: Any, axis: int) -> Any:
    """The slices at the indices, [indices] long along the axis."""
    if isinstance(array, np.ndarray):
        return np.take(array, indices, axis)
    # Indexing by a tensor does the same, on columns eight times slower.
    return array.index_select(axis, indices)


def to_numpy(array: Any) -> NDArray[Any]:
    """The numbers as a NumPy array on the host, detached from any graph; bfloat16 as float32."""
    if isinstance(array, np.ndarray):
        return array
    if array.is_floating_point():
        array = as_float("array", array)
    host: NDArray[Any] = array.detach().cpu().numpy()
    return host


def is_on_host(array: Any) -> bool:
    """Whether the array lies in the memory of the CPU."""
    return isinstance(array, np.ndarray) or array.device.type == "cpu"


def full_precision(array: Any) -> AbstractContextManager[object]:
    """A context without autocast: bfloat16 products would change coefficients in the 3rd digit."""
    if isinstance(array, np.ndarray):
        return nullcontext()
    context: AbstractContextManager[object] = sys.modules["torch"].autocast(
        array.device.type, enabled=False
    )
    return context
