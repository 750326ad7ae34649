"""How fast the machine's memory and caches are: what a kernel's GB/s are held against."""

from collections.abc import Callable

import torch
from common import clock
from torch import Tensor

MEBIBYTE = 2**20
# Buffers of one thread that stay in its second-level cache, and in the third level.
CACHES = {"512 KiB": MEBIBYTE // 2, "4 MiB": 4 * MEBIBYTE}


def rates(device: str) -> dict[str, float]:
    """GB/s of memory and caches, the best of several tries; each is what torch reaches, at least.

    Memory: a large copy, its reads and writes counted. Caches: on a CPU, a sum that each thread
    reads again and again out of a buffer of its own; on a GPU, a copy within the second level.
    """
    if device == "cuda":
        big, small = (torch.empty(size // 4, device=device) for size in (2**30, 8 * MEBIBYTE))
        return {"memory copy": _copy_rate(big), "8 MiB cache copy": _copy_rate(small)}
    measured = {"memory copy": _copy_rate(torch.ones(64 * MEBIBYTE))}
    for name, size in CACHES.items():
        threads = torch.get_num_threads()
        buffers = torch.ones(threads, 1, size // 4)
        again = buffers.expand(-1, 256 * MEBIBYTE // size, -1)

        def read(again: Tensor = again) -> object:
            return again.sum((1, 2))

        measured[f"{name} cache reads"] = again.numel() * 4 / _best_seconds(read) / 1e9
    return measured


def _copy_rate(source: Tensor) -> float:
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best_seconds(lambda: target.copy_(source)) / 1e9


def _best_seconds(function: Callable[[], object]) -> float:
    function()
    calls = max(1, round(0.02 / clock(function)))
    return min(clock(function, calls) for _ in range(5))
