"""The memory that a call needs beside its inputs and results: its peak, and what it keeps."""

import gc
from dataclasses import replace

import process_memory
import torch
from attention_cases import DIRECTIONS, Case, Direction, Inputs, make_inputs
from attention_peers import Implementation, implementations

Bytes = dict[str, int]


def measure_memory(
    case: Case, dtype: torch.dtype, device: str, threads: int
) -> dict[str, dict[Direction, Bytes]]:
    """Of each implementation and pass, the bytes that memory rises by, less the results.

    `extra_bytes` is the peak during a call, forward without gradients. `saved_bytes` is what a
    training step holds between its passes, beside the output.

    A CPU's is the resident set's high-water mark: it sees every allocator, but only what a process
    does for the first time. So this wants a process of its own, and Linux; elsewhere it is empty.
    """
    present = implementations(device, dtype)
    if device == "cpu" and not process_memory.is_measurable():
        return {each.name: {direction: {} for direction in DIRECTIONS} for each in present}
    torch.set_num_threads(threads)
    warm_up = make_inputs(replace(case, image_size=(400, 544), queries=100), "local", dtype, device)
    inputs = make_inputs(case, "local", dtype, device)
    measured = {}
    for implementation in present:
        rises(implementation, warm_up)  # threads and libraries
        measured[implementation.name] = rises(implementation, inputs)
    return measured


def rises(implementation: Implementation, inputs: Inputs) -> dict[Direction, Bytes]:
    arguments, grad_output = inputs.arguments(implementation.fused), inputs.grad_output
    device = grad_output.device.type

    before_any = settle(device)
    with torch.no_grad():
        output = implementation.function(*arguments.call())
    forward = peak(device) - before_any - output.nbytes
    del output

    before_forward = settle(device)
    output = implementation.function(*arguments.call())
    before_backward = settle(device)
    gradients = torch.autograd.grad(output, arguments.learned(), grad_output)
    backward = peak(device) - before_backward - sum(gradient.nbytes for gradient in gradients)
    saved = before_backward - before_forward - output.nbytes
    return {
        "forward": {"extra_bytes": max(0, forward)},
        "backward": {"extra_bytes": max(0, backward), "saved_bytes": max(0, saved)},
    }


def settle(device: str) -> int:
    """Bytes in use, all that is free given back; `peak` begins here."""
    if device != "cuda":
        return process_memory.settle()
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def peak(device: str) -> int:
    """The most bytes in use since `settle`."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else process_memory.peak()
