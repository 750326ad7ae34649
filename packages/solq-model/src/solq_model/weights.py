"""Weights against a network: what keeps them from being loaded, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

CLASS_HEAD = re.compile(r"(class_heads\.heads\.\d+|queries\.head\.class_head)\.")
RESET_HEAD = (
    "Only the class head differs: keep all but the class head with --reset-head "
    "(reset_head=True in Python)"
)


def is_class_head(our_name: str) -> bool:
    """Whether the tensor gives class scores: what another set of categories makes useless."""
    return CLASS_HEAD.match(our_name) is not None


def advice_on(our_names: Iterable[str]) -> list[str]:
    """Sentences on what to do where these tensors, and only these, do not fit."""
    return [RESET_HEAD] if all(map(is_class_head, our_names)) else []


def check_finite(state: Mapping[str, Tensor]) -> None:
    """ValueError that names the tensors with NaN or infinite values and how many each has."""
    counts = {
        name: int(tensor.numel() - tensor.isfinite().sum())
        for name, tensor in state.items()
        # The sum is finite only if all are, and does not need a tensor of booleans.
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum(dtype=torch.float64))
    }
    spoilt = [f"{name} ({n} of {state[name].numel()})" for name, n in counts.items() if n]
    if spoilt:
        shown = "; ".join(spoilt[:4]) + ("; …" if len(spoilt) > 4 else "")
        msg = (
            f"{len(spoilt)} tensors hold NaN or infinite values: {shown}. The training that wrote "
            "them had diverged: take an earlier checkpoint"
        )
        raise ValueError(msg)


def shape_of(tensor: Tensor | None) -> str:
    """The shape as messages show it."""
    return "absent" if tensor is None else str(tuple(tensor.shape))
