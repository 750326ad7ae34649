"""What a network costs: parameters and arithmetic, memory, and its rates on a GPU."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import process_memory
import torch
from common import clock
from model_contenders import contender
from torch.utils.flop_counter import FlopCounterMode

from solq_model import ModelConfig, build_model, presets

Size = tuple[int, int]
BATCHES = (1, 8)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WARM_UPS, REPEATS = 3, 10


def count(preset: Callable[[], ModelConfig], image_size: Size) -> dict[str, float]:
    """Parameters, and the operations of one image forward as torch counts them.

    These are two for each product in matrix products and convolutions: no gathers of deformable
    attention. Counted without any data.
    """
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = build_model(preset()).eval()
        model([torch.empty(3, *image_size)])
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "gflops": counter.get_total_flops() / 1e9,
    }


def memory_of(name: str, checkout: Path | None, image_size: Size, threads: int) -> dict[str, int]:
    """Bytes that resident memory rises by at most, forward and in a training step.

    That is beside the weights, and with the gradients. For a process of its own.
    """
    if not process_memory.is_measurable():
        return {}
    torch.set_num_threads(threads)
    measured = contender(name, checkout)
    small = torch.zeros(3, 96, 128)
    rises = {}
    for kind, call in (("forward", measured.forward), ("step", measured.step)):
        call(small)  # threads and libraries
        image = torch.randn(3, *image_size)
        before = process_memory.settle()
        call(image)
        rises[f"{kind}_extra_bytes"] = max(0, process_memory.peak() - before)
    return rises


def cuda_rows(image_size: Size) -> list[dict[str, Any]]:
    """R50 on a GPU: images a second, eager and compiled, and the share of deformable attention."""
    return [
        {"part": "cuda", "batch": batch, "dtype": name, "mode": mode}
        | cuda_rates(batch, dtype, image_size, compiled=mode == "compiled")
        for batch in BATCHES
        for name, dtype in DTYPES.items()
        for mode in ("eager", "compiled")
    ]


def cuda_rates(
    batch: int, dtype: torch.dtype, image_size: Size, *, compiled: bool
) -> dict[str, Any]:
    torch.manual_seed(0)
    model = build_model(presets.r50()).eval().cuda().to(dtype)
    images = list(torch.randn(batch, 3, *image_size, device="cuda", dtype=dtype))
    run = torch.compile(model) if compiled else model

    @torch.inference_mode()
    def call() -> object:
        return run(images)

    return {
        "images_per_second": batch / statistics.median(times(call)),
        "attention_share": None if compiled else operator_share(call),
    }


def times(call: Callable[[], object]) -> list[float]:
    """Seconds of each of several calls; the first ones compile and choose algorithms."""
    for _ in range(WARM_UPS):
        call()
    return [clock(call) for _ in range(REPEATS)]


def operator_share(call: Callable[[], object]) -> float:
    """The share of deformable attention in the time on the device."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    events = profile.key_averages()
    total = sum(event.self_device_time_total for event in events)
    ours = sum(event.device_time_total for event in events if "solq::ms_deform" in event.key)
    return ours / total
