"""The heads: what is read off each query. Class logits, box corrections, mask vectors."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from solq_model.linear import Linear


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, num_layers: int) -> None:
        super().__init__()
        sizes = [in_dim, *[hidden_dim] * (num_layers - 1), out_dim]
        self.layers = nn.ModuleList(Linear(before, after) for before, after in pairwise(sizes))

    def forward(self, tokens: Float[Tensor, "*batch in_dim"]) -> Float[Tensor, "*batch out_dim"]:
        for layer in self.layers[:-1]:
            tokens = layer(tokens).relu()
        output: Tensor = self.layers[-1](tokens)
        return output


class LayerHeads(nn.Module):
    """One head for each decoder layer, or one for all of them."""

    def __init__(self, heads: list[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def at(self, layer: int) -> nn.Module:
        """The head of a decoder layer."""
        return self.heads[layer] if len(self.heads) > 1 else self.heads[0]


class VectorHead(nn.Module):
    """Mask vectors; the same head after every decoder layer, as published (solq.py:128)."""

    def __init__(
        self, hidden_dim: int, vector_hidden_dim: int, num_coefficients: int, *, whitened: bool
    ) -> None:
        super().__init__()
        self.mlp = MLP(hidden_dim, vector_hidden_dim, num_coefficients, num_layers=3)
        self.whitened = whitened
        if whitened:
            # Of the training set's mask vectors; see `set_statistics`.
            self.register_buffer("mean", torch.zeros(num_coefficients))
            self.register_buffer("deviation", torch.ones(num_coefficients))

    mean: Tensor
    deviation: Tensor

    def set_statistics(
        self, mean: Float[Tensor, " coefficients"], deviation: Float[Tensor, " coefficients"]
    ) -> None:
        """Store the data set's means and deviations: a zero output is then the mean mask."""
        if not self.whitened:
            msg = "statistics need a model with ModelConfig.whitened_vectors, got one without"
            raise ValueError(msg)
        if mean.shape != self.mean.shape or deviation.shape != self.mean.shape:
            shapes = f"{tuple(mean.shape)} and {tuple(deviation.shape)}"
            msg = f"mean and deviation must be {tuple(self.mean.shape)}, got {shapes}"
            raise ValueError(msg)
        if not bool((deviation > 0).all()) or not bool(torch.isfinite(mean + deviation).all()):
            msg = "mean must be finite and deviation positive and finite"
            raise ValueError(msg)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def forward(
        self, queries: Float[Tensor, "batch queries hidden"]
    ) -> Float[Tensor, "batch queries coefficients"]:
        vectors: Tensor = self.mlp(queries)
        return vectors * self.deviation + self.mean if self.whitened else vectors
