"""A portion of a global batch → its share of the losses, whatever it was divided among.

A batch is divided among processes, and within one into parts that are accumulated. Each portion is
padded to the size of the whole batch and its losses are normalised by the whole, so that the sum
over portions is what the undivided batch comes to, up to rounding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from solq_maskcodec import MaskCodec
from solq_model.preprocess import normalize
from solq_model.records import Predictions
from solq_train.criterion import Criterion, Losses, Share, encode_targets
from solq_train.data import Batch, Target
from solq_train.distributed import Processes

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Portion:
    """Samples, and what has to be known of the batch that they are a portion of."""

    batch: Batch
    padded_size: tuple[int, int]  # (height, width) of the whole batch
    share: Share
    seed: int
    step: int
    place: int = 0  # among the portions of the step: each has its own random state


@dataclass(frozen=True, kw_only=True)
class _Whole:
    """Of the global batch, over all processes."""

    objects: float
    pairs: float  # of queries and objects, as many as can be matched
    padded_size: tuple[int, int]


def portions(
    batch: Batch,
    *,
    parts: int,
    num_queries: int,
    processes: Processes,
    seed: int,
    step: int,
) -> Iterator[Portion]:
    """This process's batch in parts of equal size (the last ones smaller where it must be)."""
    whole = _measure(batch, num_queries, processes)
    size = -(-len(batch.images) // parts)
    for index, start in enumerate(range(0, len(batch.images), size)):
        part = Batch(
            images=batch.images[start : start + size], targets=batch.targets[start : start + size]
        )
        objects, pairs = _counts(part.targets, num_queries)
        yield Portion(
            batch=part,
            padded_size=whole.padded_size,
            # Gradients are averaged over the processes, and losses are to be summed.
            share=Share(
                objects=processes.count * max(objects, 1) / max(whole.objects, 1),
                pairs=processes.count * pairs / max(whole.pairs, 1),
            ),
            seed=seed,
            step=step,
            place=processes.rank * parts + index,
        )


def losses_of(
    network: nn.Module,
    codec: MaskCodec | None,
    criterion: Criterion,
    portion: Portion,
    precision: Precision,
) -> Losses:
    """Forward pass and losses of a portion, in the random state of its step and place."""
    device = next(network.parameters()).device
    _seed(portion)
    targets = encode_targets(portion.batch.targets, codec, device)
    images = [normalize(image.to(device, non_blocking=True)) for image in portion.batch.images]
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        predictions = network(images, padded_size=portion.padded_size)
    return criterion(_as_float32(predictions), targets, portion.share)


def _seed(portion: Portion) -> None:
    """Chance of dropout and stochastic depth: a function of seed, step and place."""
    text = f"step {portion.seed} {portion.step} {portion.place}"
    digest = hashlib.sha256(text.encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _as_float32(predictions: Predictions) -> Predictions:
    """Losses are computed in float32: 16 bits miss small boxes by pixels."""
    proposals = predictions.proposals
    if proposals is not None:
        proposals = replace(
            proposals, logits=proposals.logits.float(), boxes=proposals.boxes.float()
        )
    vectors = predictions.mask_vectors
    return replace(
        predictions,
        logits=predictions.logits.float(),
        boxes=predictions.boxes.float(),
        mask_vectors=None if vectors is None else vectors.float(),
        auxiliary=tuple(map(_as_float32, predictions.auxiliary)),
        proposals=proposals,
    )


def _measure(batch: Batch, num_queries: int, processes: Processes) -> _Whole:
    objects, pairs = processes.sum(
        torch.tensor(_counts(batch.targets, num_queries), dtype=torch.float64)
    ).tolist()
    height, width = processes.largest(
        torch.tensor([max(i.shape[axis] for i in batch.images) for axis in (1, 2)])
    ).tolist()
    return _Whole(objects=objects, pairs=pairs, padded_size=(height, width))


def _counts(targets: Sequence[Target], num_queries: int) -> tuple[int, int]:
    counts = [len(target.labels) for target in targets]
    return sum(counts), sum(min(count, num_queries) for count in counts)
