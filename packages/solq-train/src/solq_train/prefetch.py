"""Batches → batches on the device: the next one is copied while the last one is worked on.

The part for CUDA follows torch's documentation of streams; it has not been run, for want of a GPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch

from solq_train.data import Batch

Item = TypeVar("Item")


def prefetched(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches with their images on the device; on a CPU they are there already."""
    if device.type != "cuda":
        yield from batches
        return
    copies = torch.cuda.Stream(device)

    def copy(batch: Batch) -> Batch:
        with torch.cuda.stream(copies):
            # Only from pinned memory is a copy not waited for.
            images = [image.pin_memory().to(device, non_blocking=True) for image in batch.images]
        return replace(batch, images=images)

    for batch in one_ahead(batches, copy):
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(copies)
        for image in batch.images:
            # Else their memory could go to the next copies while the step still reads it.
            image.record_stream(computing)
        yield batch


def one_ahead(items: Iterable[Item], start: Callable[[Item], Item]) -> Iterator[Item]:
    """What `start` makes of each item; it has begun with the next before one is handed out."""
    begun: deque[Item] = deque()
    for item in items:
        begun.append(start(item))
        if len(begun) > 1:
            yield begun.popleft()
    yield from begun
