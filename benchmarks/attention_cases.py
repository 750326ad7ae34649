"""The calls that are measured: their sizes, their inputs, and the bytes that they have to move."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

Locations = Literal["local", "uniform"]
Direction = Literal["forward", "backward"]
LOCATIONS: tuple[Locations, ...] = get_args(Locations)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

# SOLQ's four levels, strides 8 to 64, of an image of this height and width.
LEVELS = {
    (400, 544): ((50, 68), (25, 34), (13, 17), (7, 9)),
    (800, 1088): ((100, 136), (50, 68), (25, 34), (13, 17)),
    (800, 1333): ((100, 167), (50, 84), (25, 42), (13, 21)),
}
# How far a point lies from its query's own position, in cells; published models begin with rings
# of 1 to 4 cells.
LOCAL_CELLS = 2.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """The sizes of one call; without `queries`, every token is one, as in the encoder."""

    image_size: tuple[int, int]
    batch: int
    channels: int  # of one head
    queries: int | None = None
    heads: int = 8
    points: int = 4
    # Whether grid_sample takes so long on a CPU that float32 and local points have to be enough.
    slow: bool = False

    @property
    def name(self) -> str:
        layer = "decoder" if self.queries else "encoder"
        height, width = self.image_size
        return f"{layer} {height}x{width} N{self.batch} D{self.channels}"

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        return LEVELS[self.image_size]

    @property
    def tokens(self) -> int:
        return sum(height * width for height, width in self.levels)


class Arguments(NamedTuple):
    """What one form of the operator takes: sampled locations and weights, or what they are of."""

    value: Tensor
    spatial_shapes: Tensor
    level_start_index: Tensor
    reference_points: Tensor | None
    coordinates: Tensor  # sampling locations, or sampling offsets beside reference points
    weights: Tensor  # attention weights, or attention logits beside reference points

    def call(self) -> tuple[Tensor, ...]:
        """The operator's positional arguments."""
        return tuple(tensor for tensor in self if tensor is not None)

    def learned(self) -> tuple[Tensor, Tensor, Tensor]:
        """What training needs the gradients of. (Reference points mostly come detached.)"""
        return self.value, self.coordinates, self.weights

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Arguments":
        """Each tensor changed, detached, with gradients wanted for the learned ones."""
        references = self.reference_points
        arguments = Arguments(
            change(self.value.detach()),
            change(self.spatial_shapes),
            change(self.level_start_index),
            None if references is None else change(references),
            change(self.coordinates.detach()),
            change(self.weights.detach()),
        )
        for tensor in arguments.learned():
            tensor.requires_grad_()
        return arguments


class Inputs(NamedTuple):
    """The same call in both forms, and the gradient of its output."""

    sampled: Arguments
    fused: Arguments
    grad_output: Tensor

    def arguments(self, fused: bool) -> Arguments:
        return self.fused if fused else self.sampled


def make_inputs(
    case: Case, locations: Locations, dtype: torch.dtype, device: str = "cpu"
) -> Inputs:
    """Random inputs, made on the CPU from a seed; reference points and locations stay float32.

    Local points lie a few cells around their query's own position, as SOLQ has them; an encoder's
    queries are the tokens, row by row, a decoder's lie anywhere. Uniform ones lie anywhere.
    """
    generator = torch.Generator().manual_seed(0)
    spatial_shapes = torch.tensor(case.levels)
    sizes = spatial_shapes.prod(1)
    cells = spatial_shapes.flip(1).float()[:, None]  # (width, height), against the points
    centres = query_centres(case, generator)
    samples = (case.batch, len(centres), case.heads, len(case.levels), case.points)
    if locations == "local":
        offsets = torch.randn(*samples, 2, generator=generator) * LOCAL_CELLS
    else:
        anywhere = torch.rand(*samples, 2, generator=generator)
        offsets = (anywhere - centres[:, None, None, None]) * cells
    logits = torch.randn(samples, generator=generator).flatten(3)
    value = torch.randn(case.batch, case.tokens, case.heads, case.channels, generator=generator)
    width = case.heads * case.channels
    grad_output = torch.randn(case.batch, len(centres), width, generator=generator)

    value, offsets, logits = (tensor.to(dtype) for tensor in (value, offsets, logits))
    centres = centres[:, None].expand(case.batch, -1, len(case.levels), 2).contiguous()
    layout = (value, spatial_shapes, sizes.cumsum(0) - sizes)
    fused = Arguments(*layout, centres, offsets, logits)
    sampled = Arguments(*layout, None, *compose(spatial_shapes, centres, offsets, logits))
    return Inputs(
        sampled.changed(lambda tensor: tensor.to(device)),
        fused.changed(lambda tensor: tensor.to(device)),
        grad_output.to(device=device, dtype=dtype),
    )


def compose(
    spatial_shapes: Tensor,
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_logits: Tensor,
) -> tuple[Tensor, Tensor]:
    """Sampling locations and attention weights, as models compute them before the operator."""
    cells = spatial_shapes.flip(1).to(reference_points.dtype)[:, None]
    locations = reference_points[:, :, None, :, None] + sampling_offsets / cells
    weights = attention_logits.softmax(-1).view(sampling_offsets.shape[:-1])
    return locations, weights


def query_centres(case: Case, generator: torch.Generator) -> Tensor:
    """Where in the image each query is at home, (x, y) in 0..1: [queries, 2]."""
    if case.queries:
        return torch.rand(case.queries, 2, generator=generator)
    grids = [
        torch.cartesian_prod(
            (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
        )
        for height, width in case.levels
    ]
    return torch.cat(grids).flip(1)


@dataclass(frozen=True)
class Rows:
    """Rows of `value`, one per token and head: how many a call reads, and how many there are."""

    gathered: int  # corners of points that lie inside their level
    touched: int  # different ones among them
    stored: int

    def bytes_moved(self, arguments: Arguments, direction: Direction) -> dict[str, int]:
        """Bytes that no implementation of this form can avoid, and those of the gathers alone.

        Compulsory: each input is read and each result is written once, of `value` only the rows
        that are touched. Gathered: each corner's row is read, and in the backward pass its
        gradient is read and written too; that a cache holds most of them changes nothing here.
        """
        value, coordinates, weights = arguments.learned()
        row = value.shape[-1] * value.element_size()
        output = coordinates.shape[:3].numel() * row
        samples = coordinates.nbytes + weights.nbytes
        references = 0 if arguments.reference_points is None else arguments.reference_points.nbytes
        compulsory = self.touched * row + references + samples + output
        if direction == "forward":
            return {"compulsory": compulsory, "gathered": self.gathered * row}
        results = self.stored * row + samples
        return {"compulsory": compulsory + results, "gathered": 3 * self.gathered * row}


def count_rows(sampled: Arguments) -> Rows:
    """The rows of `value` that a call reads."""
    batch, tokens, heads, _ = sampled.value.shape
    locations = sampled.coordinates.detach()
    # One token more, for all that lies outside.
    touched = torch.zeros(batch, heads, tokens + 1, dtype=torch.bool, device=locations.device)
    gathered = 0
    for level, (height, width) in enumerate(sampled.spatial_shapes.tolist()):
        start = int(sampled.level_start_index[level])
        left_above = (
            locations[:, :, :, level] * locations.new_tensor((width, height)) - 0.5
        ).floor()
        columns, rows = left_above.long().transpose(1, 2).flatten(2, 3).unbind(-1)
        for right, below in itertools.product((0, 1), repeat=2):
            x, y = columns + right, rows + below
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            touched.scatter_(2, torch.where(inside, start + y * width + x, tokens), True)
            gathered += int(inside.sum())
    return Rows(gathered, int(touched[..., :tokens].sum()), batch * heads * tokens)
