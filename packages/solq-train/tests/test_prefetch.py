"""The next batch is on its way while one is worked on; on a CPU nothing happens."""

from __future__ import annotations

import pytest
import torch

from solq_train.data import Batch
from solq_train.prefetch import one_ahead, prefetched


def batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        images=[torch.randint(256, (3, 8, 9), dtype=torch.uint8, generator=generator)], targets=[]
    )


def test_on_a_cpu_the_very_batches_come_one_by_one():
    batches = [batch(seed) for seed in range(3)]
    asked = []

    def source():
        for one in batches:
            asked.append(one)
            yield one

    for place, found in enumerate(prefetched(source(), torch.device("cpu"))):
        assert found is batches[place]
        assert len(asked) == place + 1


def test_the_next_is_started_before_one_is_handed_out():
    events = []

    def start(item: int) -> int:
        events.append(f"start {item}")
        return 10 * item

    for found in one_ahead([1, 2, 3], start):
        events.append(f"work on {found}")
    assert events == ["start 1", "start 2", "work on 10", "start 3", "work on 20", "work on 30"]


@pytest.mark.parametrize("items", [[], [1], [1, 2]])
def test_nothing_is_lost_at_the_ends(items):
    assert list(one_ahead(items, lambda item: item)) == items


def test_an_error_of_the_source_is_passed_on():
    def source():
        yield from (1, 2)
        msg = "worker is gone"
        raise RuntimeError(msg)

    found = one_ahead(source(), lambda item: item)
    assert next(found) == 1
    with pytest.raises(RuntimeError, match="worker is gone"):
        next(found)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_arrive_on_the_gpu_whole():
    device = torch.device("cuda")
    batches = [batch(seed) for seed in range(20)]
    for given, found in zip(batches, prefetched(batches, device), strict=True):
        assert found.images[0].device.type == "cuda"
        assert torch.equal(found.images[0].cpu(), given.images[0])
