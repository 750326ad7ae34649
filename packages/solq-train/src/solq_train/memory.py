"""Memory that this process has needed."""

from __future__ import annotations

import sys

import torch


def peak_memory(device: torch.device) -> int:
    """The most bytes in use so far: of tensors on a GPU, else of the whole process; 0: unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_words(size: float) -> str:
    """Bytes as people read them: 3.2 GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.{1 if size < 100 * scale else 0}f} {unit}"
    return f"{size / 1e3:.0f} kB"
