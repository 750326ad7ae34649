"""Linear layers: torch's, with the matrix products of whichever library has the faster ones."""

from __future__ import annotations

import platform
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

# On x86 torch multiplies float32 matrices with MKL, whose code for AVX-512 is for Intel's
# processors only. oneDNN, which torch's convolutions use, chooses by what a processor can do; see
# docs/decisions/0008-model-speed.md. Where this torch does not have it, its own product is left.
ONEDNN = (
    platform.machine() in ("x86_64", "AMD64")
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)


class Linear(nn.Linear):
    """`nn.Linear`, with the same parameters and gradients."""

    def forward(self, tokens: Float[Tensor, "*batch in_dim"]) -> Float[Tensor, "*batch out_dim"]:
        if _is_for_onednn(tokens) and _is_for_onednn(self.weight):
            rows = tokens.reshape(-1, self.in_features)
            output: Tensor = _Product.apply(rows, self.weight, self.bias)
            return output.view(*tokens.shape[:-1], self.out_features)
        return super().forward(tokens)


def _is_for_onednn(tensor: Tensor) -> bool:
    return (
        ONEDNN
        and tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and tensor.numel() > 0  # oneDNN has no products of nothing
        and not torch.is_autocast_enabled("cpu")
        # A compiled or exported graph has the layer itself; compilers know it, and pack its weight.
        and not torch.compiler.is_compiling()
    )


class _Product(torch.autograd.Function):
    """`rows @ weight.T + bias` by oneDNN; its gradients are products of the same kind."""

    @staticmethod
    def forward(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        output: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
        return output

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], _: Tensor) -> None:
        rows, weight, bias = inputs
        ctx.save_for_backward(rows, weight)
        ctx.has_bias = bias is not None

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        needs_rows, needs_weight, _ = ctx.needs_input_grad
        return (
            _Product.apply(grad_output, weight.t(), None) if needs_rows else None,
            _transposed_product(grad_output, rows) if needs_weight else None,
            grad_output.sum(0) if ctx.has_bias else None,
        )


def _transposed_product(rows: Tensor, others: Tensor) -> Tensor:
    """`rows.T @ others`. oneDNN copies what comes first, which is to be the narrower one."""
    if rows.shape[1] > others.shape[1]:
        return _transposed_product(others, rows).t()
    product: Tensor = _Product.apply(rows.t(), others.t(), None)
    return product


if ONEDNN:

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _count(*shapes: object, out_shape: tuple[int, ...], **_: object) -> int:
        """What torch's counter counts of a linear layer: two for each product."""
        weight = shapes[1]
        assert isinstance(weight, torch.Size | tuple)
        return 2 * torch.Size(out_shape).numel() * weight[1]
