"""Dropout that keeps one byte an element for its gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """`nn.Dropout`; on a CPU that one keeps its mask as floats, four times as large."""

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return tokens
        dropped: Tensor = torch.native_dropout(tokens, self.p, train=True)[0]
        return dropped
