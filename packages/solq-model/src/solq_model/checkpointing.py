"""Activation checkpointing: parts whose activations are computed again for their gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Checkpointed(nn.Module):
    """Parts in a row, of which only inputs are kept for the backward pass where that is on."""

    checkpointing = False

    def run(self, part: nn.Module, *inputs: Any) -> Any:
        """What the part makes of its inputs. Random numbers are the same both times."""
        if not self.checkpointing or not torch.is_grad_enabled() or _counts(part):
            return part(*inputs)
        return checkpoint(part, *inputs, use_reentrant=False)


def _counts(part: nn.Module) -> bool:
    """Whether a second pass would be counted: batch norms that are trained average over passes."""
    return part.training and any(isinstance(m, nn.BatchNorm2d) for m in part.modules())
