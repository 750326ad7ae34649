"""Memory and time of the codec in processes of their own: one image, and very many masks."""

import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import process_memory
import torch
from maskcodec_contenders import CODEC, Calls, Contenders
from maskcodec_scenes import SIZE, Scene, make_boxes, make_masks, make_scene

# Masks that differ; larger batches repeat them.
DISTINCT = 1000
# Of the memory that there is, what a step's masks may take: in and out, and as much again.
LARGEST_SHARE = 0.5


def image_memory(name: str, scene: Scene) -> dict[str, int]:
    """Bytes that a contender needs for vectors → RLE, results and all that comes before them.

    `extra_bytes` is the rise of the resident memory's high-water mark (not outside Linux),
    `traced_bytes` the peak of what Python and NumPy allocate, for which it runs once more.
    """
    torch.set_num_threads(1)
    contenders = Contenders()

    def call_for(scene: Scene) -> Callable[[], Any]:
        return contenders.rle(CODEC.encode(scene.masks), scene)[name]

    call_for(make_scene(4, (32, 32)))()  # libraries and constants
    call = call_for(scene)
    measured = {}
    if process_memory.is_measurable():
        before = process_memory.settle()
        call()
        measured["extra_bytes"] = max(0, process_memory.peak() - before)
    gc.collect()
    tracemalloc.start()
    call()
    measured["traced_bytes"] = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return measured


def batch_rows(count: int, image_size: tuple[int, int], seconds: float) -> list[dict[str, Any]]:
    """Encoding, decoding and RLE of so many masks in one call each: time and memory.

    `extra_bytes` is what is needed beside inputs and results: the high-water mark of the resident
    memory less what stays when all but them is given back.
    """
    torch.set_num_threads(1)
    masks = np.empty((count, SIZE, SIZE), np.bool_)
    distinct = make_masks(min(count, DISTINCT))
    for start in range(0, count, len(distinct)):
        masks[start : start + len(distinct)] = distinct[: count - start]
    vectors = CODEC.encode(masks)
    boxes = make_boxes(count, image_size)
    steps: Calls = {
        "encode": lambda: CODEC.encode(masks),
        "decode": lambda: CODEC.decode(vectors, "midrange"),
        "rle": lambda: CODEC.decode_to_rle(vectors, boxes, image_size, "midrange"),
    }
    rows = []
    for step, call in steps.items():
        row: dict[str, Any] = {"step": f"batch {step}", "masks": count, **_first_call(call)}
        rows.append(row | {"best_us": _best_seconds(call, seconds) / count * 1e6})
    return rows


def _first_call(call: Callable[[], Any]) -> dict[str, int]:
    if not process_memory.is_measurable():
        call()
        return {}
    process_memory.settle()
    result = call()
    peak = process_memory.peak()
    extra = peak - process_memory.settle()
    del result
    return {"extra_bytes": max(0, extra)}


def _best_seconds(call: Callable[[], Any], seconds: float) -> float:
    """The least of at least two calls, and of as many as begin within the time."""
    best, calls = float("inf"), 0
    begin = time.perf_counter()
    while calls < 2 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        call()
        best, calls = min(best, time.perf_counter() - start), calls + 1
    return best


def fits(count: int) -> bool:
    """Whether there is memory for a batch of so many masks, in and out."""
    needed = 2 * count * SIZE * SIZE
    measurable = process_memory.is_measurable()
    return not measurable or needed < LARGEST_SHARE * process_memory.available()
