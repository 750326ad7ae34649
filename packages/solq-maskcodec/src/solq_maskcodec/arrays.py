"""NumPy, torch and the array API standard behind one spelling, importing none but NumPy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

# A NumPy array, a torch tensor, or an array of a library that follows the array API standard.
Array = TypeVar("Array", bound=Any)

# A device with its own memory gets this many shares of a CPU at once, 128 MiB of float32.
_SHARES_OF_A_DEVICE = 64


def array_namespace(**arguments: object) -> Any:
    """The module that all the named arguments belong to: `numpy`, `torch` or a standard one.

    The standard is the array API of data-apis.org: JAX, CuPy and others. What the modules spell
    alike (`where`, `reshape`, `abs`, `clip`, …) is used from there, the rest stands below. A tensor
    can only exist where torch has been imported already, hence the look into `sys.modules`.
    """
    torch = sys.modules.get("torch")
    found: dict[str, Any] = {}
    for name, array in arguments.items():
        if isinstance(array, np.ndarray):
            found[name] = np
        elif torch is not None and isinstance(array, torch.Tensor):
            found[name] = torch
        elif hasattr(array, "__array_namespace__"):
            found[name] = array.__array_namespace__()
        else:
            msg = (
                f"{name} must be a NumPy array or a torch tensor, or have __array_namespace__, "
                f"got {type(array).__name__}"
            )
            raise TypeError(msg)
    if len(set(found.values())) > 1:
        kinds = ", ".join(f"{name}: {module.__name__}" for name, module in found.items())
        msg = f"{' and '.join(found)} must all be arrays of one library, got {kinds}"
        raise TypeError(msg)
    return next(iter(found.values()))


def as_float(name: str, array: Any) -> Any:
    """The array as float64 if that is what it is, else as float32 (bfloat16 and bool too)."""
    xp = array_namespace(array=array)
    if xp is np:
        is_number = array.dtype.kind in "biuf"
    elif _is_torch(array):
        is_number = not array.is_complex()
    else:
        is_number = not xp.isdtype(array.dtype, "complex floating")
    if not is_number:
        msg = f"{name} must hold bool, integer or float numbers, got dtype {array.dtype}"
        raise ValueError(msg)
    # A library that can do without 64 bits may lack the standard's float64.
    is_wide = array.dtype == getattr(xp, "float64", None)
    return array if is_wide else cast(array, xp.float32)


def cast(array: Any, dtype: Any) -> Any:
    """The array in another dtype of its library; itself if that is the one it has."""
    if isinstance(array, np.ndarray):
        return array.astype(dtype, copy=False)
    if _is_torch(array):
        return array.to(dtype)
    return array_namespace(array=array).astype(array, dtype, copy=False)


def addable(name: str, array: Any) -> Any:
    """The array as numbers of which two can be added: bool as int8 on the host, else as floats.

    On the host that costs nothing. An accelerator, or the runtime that a graph is exported to, gets
    numbers that it knows well.
    """
    if isinstance(array, np.ndarray) and array.dtype == np.bool_:
        return array.view(np.int8)
    if _is_torch(array) and is_on_host(array) and array.dtype == sys.modules["torch"].bool:
        return array.view(sys.modules["torch"].int8)
    return as_float(name, array)


def constant(values: NDArray[Any], like: Any) -> Any:
    """The values where `like` lives: floats take its dtype, integers and bools keep theirs.

    Made anew at each call; what every call needs is a `Table`.
    """
    dtype = like.dtype if values.dtype.kind == "f" else None
    if isinstance(like, np.ndarray):
        return values if dtype is None else values.astype(dtype, copy=False)
    if _is_torch(like):
        return sys.modules["torch"].tensor(values, dtype=dtype, device=like.device)
    # Under a transformation such as jax.jit, arrays have no device, and need none.
    place = {"device": like.device} if hasattr(like, "device") else {}
    return array_namespace(like=like).asarray(values, dtype=dtype, **place)


class Table:
    """Numbers that many calls need, kept where they were needed before.

    For NumPy in each float type, for torch on each device: copying even a few kilobytes to an
    accelerator makes the host wait for it.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        values.setflags(write=False)
        self.values = values
        self._is_float = values.dtype.kind == "f"
        self._kept: dict[Any, Any] = {}

    def like(self, array: Any) -> Any:
        """`constant(values, array)`."""
        if isinstance(array, np.ndarray):
            key: Any = array.dtype
            if key not in self._kept:
                self._kept[key] = constant(self.values, array)
            return self._kept[key]
        if not _is_torch(array):
            return constant(self.values, array)
        torch = sys.modules["torch"]
        key = array.dtype, array.device
        if torch.compiler.is_dynamo_compiling():
            if key in self._kept:
                return self._kept[key]
            # Where NumPy's arrays are tensors themselves, which `tensor` warns about.
            dtype = array.dtype if self._is_float else None
            return torch.as_tensor(self.values, dtype=dtype, device=array.device)
        if _is_traced(array):
            return constant(self.values, array)
        if key not in self._kept:
            # Made under `torch.inference_mode`, it could never again take part in training.
            with torch.inference_mode(False):
                self._kept[key] = constant(self.values, array)
        return self._kept[key]


def zeros(shape: tuple[int, ...], like: Any, dtype: Any = None) -> Any:
    """Zeros where `like` lives, of its dtype or of the given one."""
    dtype = like.dtype if dtype is None else dtype
    if isinstance(like, np.ndarray):
        return np.zeros(shape, dtype)
    place = {"device": like.device} if hasattr(like, "device") else {}
    return array_namespace(like=like).zeros(shape, dtype=dtype, **place)


def take(array: Any, indices: Any, axis: int) -> Any:
    """The slices at the indices 0, 1, …, [indices] long along the axis."""
    if isinstance(array, np.ndarray):
        # No index is negative or out of range, and to check each takes a fifth of the time.
        return np.take(array, indices, axis, mode="clip")
    if _is_torch(array):
        # Indexing by a tensor does the same, on columns eight times slower.
        return array.index_select(axis, indices)
    return array_namespace(array=array).take(array, indices, axis=axis)


def reshape(array: Any, shape: tuple[int, ...]) -> Any:
    """The array in another shape."""
    if hasattr(array, "reshape"):
        return array.reshape(shape)
    return array_namespace(array=array).reshape(array, shape)


def concat(arrays: list[Any], axis: int = 0) -> Any:
    """The arrays one after the other along the axis."""
    if isinstance(arrays[0], np.ndarray):
        return np.concatenate(arrays, axis)
    # NumPy 1 does not have this name for it.
    return array_namespace(array=arrays[0]).concat(arrays, axis=axis)


def flip(array: Any, axis: int) -> Any:
    """The array in the opposite order along the axis."""
    if _is_torch(array):
        return array.flip(axis)
    return array[(slice(None),) * axis + (slice(None, None, -1), ...)]


def extremes(array: Any) -> tuple[Any, Any]:
    """The smallest and the largest number along the last axis."""
    if _is_torch(array):
        return array.amin(-1), array.amax(-1)
    xp = array_namespace(array=array)
    return xp.min(array, axis=-1), xp.max(array, axis=-1)


def count_true(masks: Any) -> Any:
    """How many are True in each bool [..., height, width], floats [...].

    float64 in NumPy, else float32.
    """
    xp = array_namespace(masks=masks)
    if xp is np:
        return np.count_nonzero(masks, axis=(-2, -1)).astype(np.float64)
    whole = masks if _is_torch(masks) else xp.astype(masks, xp.int32)
    return cast(xp.sum(whole, axis=(-2, -1)), xp.float32)


def to_numpy(array: Any) -> NDArray[Any]:
    """The numbers as a NumPy array on the host, detached from any graph; bfloat16 as float32."""
    if isinstance(array, np.ndarray):
        return array
    if not _is_torch(array):
        return np.asarray(array)
    if array.is_floating_point():
        array = as_float("array", array)
    host: NDArray[Any] = array.detach().cpu().numpy()
    return host


def is_on_host(array: Any) -> bool:
    """Whether the numbers are there to be looked at: on the CPU, and not part of a traced graph."""
    if isinstance(array, np.ndarray):
        return True
    return _is_torch(array) and not _is_traced(array) and array.device.type == "cpu"


def full_precision(array: Any) -> AbstractContextManager[object]:
    """A context without autocast: bfloat16 products would change coefficients in the 3rd digit.

    Nor does NumPy warn in it: values of a broken vector (inf, NaN) pass through.
    """
    if isinstance(array, np.ndarray):
        return np.errstate(invalid="ignore", over="ignore")
    if not _is_torch(array):
        return nullcontext()
    torch, device = sys.modules["torch"], array.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return nullcontext()
    context: AbstractContextManager[object] = torch.autocast(device, enabled=False)
    return context


def in_chunks(function: Callable[[Any], Any], batch: Any, size: int) -> Any:
    """What the function makes of a batch, [batch, ...] of [batch, ...], in equal shares.

    A share is at most `size` items on a CPU: what a core works on stays near it, and memory does
    not grow with the batch beyond the result. Other devices of torch get larger shares; a graph,
    and a library that makes its own, the whole batch.
    """
    return in_placed_chunks(lambda chunk, _into: function(chunk), batch, size)


def in_placed_chunks(function: Callable[[Any, Any], Any], batch: Any, size: int) -> Any:
    """`in_chunks` of a function that is told where it may put what it returns, else None."""
    with full_precision(batch):
        if not isinstance(batch, np.ndarray) and (not _is_torch(batch) or _is_traced(batch)):
            return function(batch, None)
        _keep_freed_memory()
        count = batch.shape[0]
        size = size if is_on_host(batch) else size * _SHARES_OF_A_DEVICE
        if count <= size:
            return function(batch, None)
        size = -(-count // -(-count // size))
        first = function(batch[:size], None)
        chunks = range(size, count, size)
        if getattr(first, "requires_grad", False):
            rest = [function(batch[start : start + size], None) for start in chunks]
            return concat([first, *rest])
        is_numpy = isinstance(first, np.ndarray)
        shape = count, *first.shape[1:]
        result: Any = np.empty(shape, first.dtype) if is_numpy else first.new_empty(shape)
        result[:size] = first
        for start in chunks:
            place = result[start : start + size]
            part = function(batch[start : start + size], place if is_numpy else None)
            if part is not place:
                place[...] = part
    return result


@lru_cache(maxsize=1)
def _keep_freed_memory() -> None:
    """Lets the C library keep what a chunk frees for the next one.

    glibc gives freed memory back to the system where it is more than twice the largest block that
    was freed so far (mallopt(3), M_TRIM_THRESHOLD), and the system clears pages before it hands
    them out again. In a process that has freed nothing large yet, encoding takes four times as
    long, decoding and refining twice. This block is never written to, so it takes no memory.
    """
    np.empty(2**23, np.uint8)


def _is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _is_traced(tensor: Any) -> bool:
    """Whether a torch tensor stands for others: fake, or in a graph that is being made."""
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        return True
    try:
        tensor.untyped_storage()
    except NotImplementedError:  # one of many, under torch.func
        return True
    return False
