"""`torch.ops.solq.*`: schemas, fake kernels, autograd, vmap, autocast, reference as fallback.

Compiled kernels register themselves, by device, for the operators that are defined here.
"""

import functools
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import reference

_logger = logging.getLogger("solq_ops")
# A fragment, because the compiled libraries add their kernels to the same namespace.
_library = torch.library.Library("solq", "FRAGMENT")

# What runs on a device without compiled kernels, by the name of the operator.
REFERENCE_KERNELS: dict[str, Callable[..., Any]] = {}

# Devices with an autocast mode; the name of the dispatch key is theirs.
_AUTOCAST_KEYS = {"cpu": "CPU", "cuda": "CUDA", "mps": "MPS", "xpu": "XPU"}


@dataclass(frozen=True)
class _Operator:
    """A definition, whose arguments are the operator's: some tensors, then points_per_level.

    The tensors are value, spatial_shapes and level_start_index; then those that say where and how
    each query samples. All but shapes and starts have gradients.
    """

    definition: Callable[..., Tensor]

    @property
    def name(self) -> str:
        return self.definition.__name__

    @property
    def tensors(self) -> list[str]:
        return list(inspect.signature(self.definition).parameters)[:-1]

    @functools.cached_property
    def learned(self) -> list[int]:
        return [0, *range(3, len(self.tensors))]


def _overload(name: str) -> torch._ops.OpOverload:
    overload: torch._ops.OpOverload = getattr(torch.ops.solq, name).default
    return overload


def _register(operator: _Operator) -> None:
    name, backward_name = operator.name, f"{operator.name}_backward"
    arguments = ", ".join(f"Tensor {tensor}" for tensor in operator.tensors)
    arguments += ", int[] points_per_level"
    gradients = ", ".join("Tensor" for _ in operator.learned)
    tags = (torch.Tag.pt2_compliant_tag,)
    _library.define(f"{name}({arguments}) -> Tensor", tags=tags)
    _library.define(
        f"{backward_name}(Tensor grad_output, {arguments}, bool deterministic) -> ({gradients})",
        tags=tags,
    )
    REFERENCE_KERNELS[name] = _reference_kernel(operator)
    REFERENCE_KERNELS[backward_name] = _reference_backward_kernel(operator)
    for defined, fake in ((name, _fake), (backward_name, _fake_backward(operator))):
        qualified = f"solq::{defined}"
        _library.impl(defined, REFERENCE_KERNELS[defined], "CompositeExplicitAutograd")
        torch.library.register_fake(qualified, fake, lib=_library)
        torch.library.register_vmap(qualified, _vmap(_overload(defined)), lib=_library)
    torch.library.register_autograd(
        f"solq::{name}", _differentiate(operator), setup_context=_save, lib=_library
    )
    torch.library.register_autograd(
        f"solq::{backward_name}", _refuse_to_differentiate(name), lib=_library
    )
    for device_type, key in _AUTOCAST_KEYS.items():
        _library.impl(name, _autocast(operator, device_type, f"Autocast{key}"), f"Autocast{key}")


# Fake kernels: sizes and dtypes for whoever traces.


def _fake(value: Tensor, *others: Any) -> Tensor:
    *_, weights, _points_per_level = others
    batch, queries = weights.shape[:2]
    return value.new_empty(batch, queries, value.shape[2] * value.shape[3])


def _fake_backward(operator: _Operator) -> Callable[..., tuple[Tensor, ...]]:
    def fake(_grad_output: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        return tuple(arguments[i].new_empty(arguments[i].shape) for i in operator.learned)

    return fake


# Autograd.


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.points_per_level = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(operator: _Operator) -> Callable[..., tuple[Tensor | None, ...]]:
    overload = _overload(f"{operator.name}_backward")

    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        deterministic = torch.are_deterministic_algorithms_enabled()
        found = overload(grad_output, *ctx.saved_tensors, ctx.points_per_level, deterministic)
        gradients: list[Tensor | None] = [None] * len(ctx.needs_input_grad)
        for position, gradient in zip(operator.learned, found, strict=True):
            if ctx.needs_input_grad[position]:
                gradients[position] = gradient
        return tuple(gradients)

    return backward


def _refuse_to_differentiate(name: str) -> Callable[..., Any]:
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        msg = (
            f"solq_ops.{name} is differentiable once, and this is the gradient of its gradients; "
            "create_graph=True is of use only where no such gradient is asked for"
        )
        raise NotImplementedError(msg)

    return backward


# vmap: the mapped axis becomes part of the batch.


def _vmap(overload: torch._ops.OpOverload) -> Callable[..., Any]:
    argument_names = [argument.name for argument in overload._schema.arguments]
    shared = [argument_names.index(name) for name in ("spatial_shapes", "level_start_index")]

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> Any:
        arguments_and_dims = list(zip(arguments, in_dims, strict=True))
        for position in shared:
            if (dim := in_dims[position]) is not None:
                msg = (
                    f"{argument_names[position]} must be the same for all that is mapped "
                    f"(in_dims None), got in_dims {dim}"
                )
                raise ValueError(msg)
        folded = [
            _with_mapped_axis(argument, dim, info.batch_size).flatten(0, 1)
            if isinstance(argument, Tensor) and position not in shared
            else argument
            for position, (argument, dim) in enumerate(arguments_and_dims)
        ]
        mapped_batch = _with_mapped_axis(*arguments_and_dims[0], info.batch_size).shape[:2]
        found = overload(*folded)
        if isinstance(found, Tensor):
            return found.unflatten(0, mapped_batch), 0
        return tuple(tensor.unflatten(0, mapped_batch) for tensor in found), (0,) * len(found)

    return rule


def _with_mapped_axis(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The tensor with the mapped axis first, also if it is the same for all that is mapped."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


# Autocast: only value is cast, because locations in 16 bits miss their cell.


def _autocast(operator: _Operator, device_type: str, key_name: str) -> Callable[..., Tensor]:
    overload = _overload(operator.name)
    key = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key_name))

    def kernel(value: Tensor, *others: Any) -> Tensor:
        # As torch's own rules: float64 is asked for by hand, and stays.
        if value.is_floating_point() and value.dtype != torch.float64:
            value = value.to(torch.get_autocast_dtype(device_type))
            # Shapes, starts, and locations or reference points: these are never in 16 bits.
            exact, inexact = others[:3], _of_one_dtype(value.dtype, others[3:-1])
            others = (*exact, *inexact, others[-1])
        with torch._C._ExcludeDispatchKeyGuard(key):
            result: Tensor = overload(value, *others)
        return result

    return kernel


def _of_one_dtype(value_dtype: torch.dtype, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The tensors as they are if the operator takes them beside such a value, or else widened."""
    wide = torch.promote_types(value_dtype, torch.float32)
    dtypes = {tensor.dtype for tensor in tensors}
    if len(dtypes) == 1 and dtypes <= {value_dtype, wide}:
        return tensors
    return tuple(tensor.to(wide) for tensor in tensors)


# The reference, on every device for which no compiled kernel is registered.


def _reference_kernel(operator: _Operator) -> Callable[..., Tensor]:
    def kernel(value: Tensor, *others: Any) -> Tensor:
        announce_reference(value.device.type)
        return operator.definition(value, *others)

    return kernel


def _reference_backward_kernel(operator: _Operator) -> Callable[..., tuple[Tensor, ...]]:
    def kernel(grad_output: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        *inputs, _deterministic = arguments
        announce_reference(grad_output.device.type)
        # The dispatcher comes here with autograd switched off; this is what switches it on again.
        with torch.inference_mode(False):
            for position in operator.learned:
                inputs[position] = inputs[position].detach().requires_grad_()
            leaves = [inputs[position] for position in operator.learned]
            found = torch.autograd.grad(operator.definition(*inputs), leaves, grad_output)
        return tuple(gradient.contiguous() for gradient in found)

    return kernel


@functools.cache
def announce_reference(device_type: str) -> None:
    """Say once for each type of device that the plain-torch definition runs there."""
    _logger.warning(
        "no compiled kernel for %s devices: running the plain-torch reference, which is correct "
        "and slow; solq_ops.backend() tells why",
        device_type,
    )


for _definition in (reference.ms_deform_attn, reference.ms_deform_attn_fused):
    _register(_Operator(_definition))

ms_deform_attn = torch.ops.solq.ms_deform_attn.default
ms_deform_attn_fused = torch.ops.solq.ms_deform_attn_fused.default
