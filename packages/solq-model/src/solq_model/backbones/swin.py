"""Swin Transformer backbones (arXiv:2103.14030), as in the published SOLQ.

Torchvision's classes compute something else on small maps: where one window covers a map they do
not shift it, the published code does. Hence attention is ours here, and the patch merging theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchvision.models.swin_transformer import PatchMerging
from torchvision.ops import StochasticDepth

from solq_model.checkpointing import Checkpointed
from solq_model.linear import Linear

WINDOW = 7
SHIFT = WINDOW // 2
PATCH = 4
MLP_RATIO = 4
# Added to attention across regions. Finite, as published: exp(-100) is 0 beside any likely score.
ACROSS_REGIONS = -100.0


@dataclass(frozen=True)
class SwinSize:
    """What tells the networks apart; the width doubles from stage to stage."""

    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]


SIZES = {
    "swin_t": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_s": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_b": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "swin_l": SwinSize(192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


class SwinBackbone(nn.Module):
    """A Swin Transformer that returns the outputs of its last `num_outputs` stages, normalised."""

    def __init__(
        self,
        *,
        name: str,
        frozen_stages: int,
        frozen_stem: bool = False,
        drop_path: float,
        num_outputs: int,
    ) -> None:
        super().__init__()
        size = SIZES[name]
        self.body = SwinBody(size, drop_path, num_outputs)
        widths = [size.width * 2**stage for stage in range(len(size.depths))]
        self.num_channels = widths[-num_outputs:]
        # Published `frozen_stages`: -1 nothing, 0 and 1 the patch embedding alone, 2 the first
        # stage too, … Ours counts as for a ResNet, from 2 on it is one less.
        stem = [self.body.patch_embed] if frozen_stem or frozen_stages else []
        self._frozen = [*stem, *self.body.layers[:frozen_stages]]
        for part in self._frozen:
            part.requires_grad_(requires_grad=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Features `[batch, channels, height / stride, width / stride]`, finest first."""
        return self.body(images)

    def train(self, mode: bool = True) -> SwinBackbone:
        """Itself in the mode; frozen stages stay in evaluation mode, without stochastic depth."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self


class SwinBody(nn.Module):
    """The modules of the backbone, by their published names."""

    def __init__(self, size: SwinSize, drop_path: float, num_outputs: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(size.width)
        # Blocks are skipped the more often the deeper they are.
        rates = torch.linspace(0, drop_path, sum(size.depths), device="cpu").tolist()
        stages = []
        for index, (depth, heads) in enumerate(zip(size.depths, size.heads, strict=True)):
            stage_rates, rates = rates[:depth], rates[depth:]
            last = index == len(size.depths) - 1
            stages.append(SwinStage(size.width * 2**index, heads, stage_rates, downsample=not last))
        self.layers = nn.ModuleList(stages)
        self.output_stages = range(len(stages) - num_outputs, len(stages))
        for index in self.output_stages:
            self.add_module(f"norm{index}", nn.LayerNorm(size.width * 2**index))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised feature maps `[batch, channels, rows, columns]` of the output stages."""
        features = self.patch_embed(images)
        outputs = []
        for index, stage in enumerate(self.layers):
            output, features = stage(features)
            if index in self.output_stages:
                norm = getattr(self, f"norm{index}")
                outputs.append(norm(output).permute(0, 3, 1, 2).contiguous())
        return outputs


class PatchEmbedding(nn.Module):
    """Images → one token for each patch of 4 x 4 pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens `[batch, rows, columns, width]`; images are padded to whole patches."""
        height, width = images.shape[2:]
        images = F.pad(images, (0, -width % PATCH, 0, -height % PATCH))
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class SwinStage(Checkpointed):
    """Blocks whose windows are shifted in turn, then the merging of 2 x 2 tokens into one."""

    def __init__(
        self, width: int, num_heads: int, drop_path: list[float], *, downsample: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(width, num_heads, rate, shift=SHIFT if index % 2 else 0)
            for index, rate in enumerate(drop_path)
        )
        self.downsample = PatchMerging(width) if downsample else nn.Identity()

    def forward(self, tokens: Float[Tensor, "batch rows columns width"]) -> tuple[Tensor, Tensor]:
        """The stage's output, and the input of the next."""
        regions = region_mask(tokens.shape[1], tokens.shape[2], like=tokens)
        for block in self.blocks:
            tokens = self.run(block, tokens, regions)
        return tokens, self.downsample(tokens)


class SwinBlock(nn.Module):
    """Attention within windows, then a perceptron on each token."""

    def __init__(self, width: int, num_heads: int, drop_path: float, *, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, num_heads)
        self.drop_path = StochasticDepth(drop_path, mode="row")
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                fc1=Linear(width, MLP_RATIO * width),
                act=nn.GELU(),
                fc2=Linear(MLP_RATIO * width, width),
            )
        )

    def forward(self, tokens: Tensor, regions: Tensor) -> Tensor:
        """Tokens `[batch, rows, columns, width]`; `regions` counts where windows are shifted."""
        attended = self.attend(self.norm1(tokens), regions)
        tokens = tokens + self.drop_path(attended)
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))

    def attend(self, tokens: Tensor, regions: Tensor) -> Tensor:
        """What each token gathers from its window."""
        rows, columns = tokens.shape[1:3]
        # After the norm, and unmasked: tokens of padding are zeros that are attended to.
        padded = F.pad(tokens, (0, 0, 0, -columns % WINDOW, 0, -rows % WINDOW))
        if self.shift:
            padded = padded.roll((-self.shift, -self.shift), dims=(1, 2))
        windows = self.attn(split_windows(padded), regions if self.shift else None)
        joined = join_windows(windows, padded.shape[1], padded.shape[2])
        if self.shift:
            joined = joined.roll((self.shift, self.shift), dims=(1, 2))
        return joined[:, :rows, :columns]


class WindowAttention(nn.Module):
    """Self-attention of the tokens of a window, with a learned bias for each relative position."""

    relative_position_index: Tensor

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attend = attend  # which exported copies replace
        offsets = 2 * WINDOW - 1
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets**2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        # Not saved: it follows from the window.
        self.register_buffer("relative_position_index", position_index(), persistent=False)
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(
        self,
        windows: Float[Tensor, "batch_windows tokens width"],
        regions: Float[Tensor, "windows tokens tokens"] | None,
    ) -> Tensor:
        """Attended tokens, of the same shape; `regions` is added to the scores."""
        queries, keys, values = (
            self.qkv(windows).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        )
        bias = self.relative_position_bias_table[self.relative_position_index]
        bias = bias.permute(2, 0, 1)[None]
        if regions is not None:
            batch = windows.shape[0] // regions.shape[0]
            bias = (bias + regions[:, None]).repeat(batch, 1, 1, 1)
        # Scaled here: torch would scale queries and keys by the root, which rounds worse.
        queries = queries * queries.shape[-1] ** -0.5
        attended = self.attend(queries, keys, values, bias)
        return self.proj(attended.transpose(1, 2).flatten(2))


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Values weighed by products of queries and keys; `[windows, heads, tokens, channels]`."""
    return F.scaled_dot_product_attention(queries, keys, values, bias, scale=1.0)


def position_index() -> Int[Tensor, "tokens tokens"]:
    """The row of the bias table for each query and key of a window."""
    tokens = torch.arange(WINDOW**2)
    rows, columns = tokens // WINDOW, tokens % WINDOW
    down = rows[:, None] - rows + WINDOW - 1
    right = columns[:, None] - columns + WINDOW - 1
    return down * (2 * WINDOW - 1) + right


def region_mask(rows: int, columns: int, like: Tensor) -> Float[Tensor, "windows tokens tokens"]:
    """What is added to the scores of shifted windows: 0 within, -100 across regions.

    The shift brings opposite borders of the map into one window; tokens of one border do not see
    those of the other. Also on a map of a single window, whose shift only divides it.
    """
    row = _border(rows, like.device)
    column = _border(columns, like.device)
    regions = split_windows((3 * row[:, None] + column)[None, :, :, None])[:, :, 0]
    different = regions[:, :, None] != regions[:, None, :]
    return different.to(like.dtype) * ACROSS_REGIONS


def _border(length: int, device: torch.device) -> Tensor:
    """The region along one axis of the shifted map: 0 inside, 1 and 2 in the last window."""
    padded = length + -length % WINDOW
    position = torch.arange(padded, device=device)
    return (position >= padded - WINDOW).long() + (position >= padded - SHIFT).long()


def split_windows(tokens: Tensor) -> Tensor:
    """Map `[batch, rows, columns, width]` → `[batch * windows, tokens, width]`."""
    grid = tokens.unflatten(2, (-1, WINDOW)).unflatten(1, (-1, WINDOW))
    return grid.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def join_windows(windows: Tensor, rows: int, columns: int) -> Tensor:
    """The map that `split_windows` took apart."""
    grid = windows.unflatten(1, (WINDOW, WINDOW))
    grid = grid.unflatten(0, (-1, rows // WINDOW, columns // WINDOW))
    return grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)
