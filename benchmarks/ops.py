"""Multi-scale deformable attention, forward and backward, against who else computes it."""

import argparse
import functools
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from attention_accuracy import relative_errors
from attention_cases import (
    DIRECTIONS,
    LOCATIONS,
    Case,
    Direction,
    Inputs,
    Locations,
    count_rows,
    make_inputs,
)
from attention_memory import Bytes, measure_memory
from attention_peers import Implementation, implementations, installed_peers
from attention_tables import print_facts, print_group, print_summary
from common import interleaved_us, save_json, spread
from machine_limits import rates

from solq_ops import backend

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LEAST_ROUNDS = 3

ENCODER = Case(image_size=(800, 1088), batch=1, channels=48)
DECODER = replace(ENCODER, queries=300)
CASES = (
    ENCODER,
    DECODER,
    *(replace(DECODER, image_size=(800, 1333), batch=batch) for batch in (1, 2)),
    *(replace(ENCODER, image_size=(800, 1333), batch=batch, slow=True) for batch in (1, 2)),
    *(replace(DECODER, channels=channels) for channels in (32, 64)),
    *(replace(ENCODER, channels=channels, slow=True) for channels in (32, 64)),
)
QUICK_CASES = (replace(ENCODER, image_size=(400, 544)), DECODER)

Key = tuple[str, str]  # implementation, dtype
Samples = dict[Key, list[float]]


def main() -> None:
    options = parse_options()
    if options.threads:
        torch.set_num_threads(options.threads)
    start = time.perf_counter()
    facts = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else options.device,
        "peers": installed_peers(options.device)[1],
        "backend": str(backend()).splitlines(),
    }
    print_facts(facts)
    rows: list[dict[str, Any]] = []
    limits: dict[str, float] = {}
    for case, locations in chosen_cases(options):
        # Again and again: only the best of them is the machine's and not that of who else uses it.
        limits = {
            name: max(rate, limits.get(name, 0)) for name, rate in rates(options.device).items()
        }
        group = measure(case, locations, options)
        print_group(f"{case.name}, {locations} points", group)
        rows += group
    print_summary(rows, limits)
    print(f"\n{time.perf_counter() - start:.0f} s")
    save_json(options.output, "ops", rows, limits_gb_s=limits, **facts)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--quick", action="store_true", help="two small cases, in a minute")
    parser.add_argument(
        "--case",
        action="append",
        metavar="WORDS",
        help='only cases with all of these words, as in "encoder D48 local"; may be repeated',
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, help="of a CPU; torch's own choice if not given")
    parser.add_argument("--rounds", type=int, default=11, help="the most rounds of a measurement")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="after which only the first rounds still begin"
    )
    return parser.parse_args()


def chosen_cases(options: argparse.Namespace) -> list[tuple[Case, Locations]]:
    """Each case with the kinds of points that are measured in it."""
    short_of_time = options.device == "cpu"
    chosen = []
    for case in QUICK_CASES if options.quick else CASES:
        for locations in LOCATIONS:
            title = f"{case.name} {locations}".split()
            if options.case and not any(set(words.split()) <= set(title) for words in options.case):
                continue
            if locations == "local" or not (options.quick or (case.slow and short_of_time)):
                chosen.append((case, locations))
    if not chosen:
        msg = f"no case has all the words of any of {options.case}"
        raise SystemExit(msg)
    return chosen


def measure(case: Case, locations: Locations, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each contender and pass; of each pass, all contenders take turns."""
    device, threads = options.device, torch.get_num_threads()
    dtypes = ("float32",) if case.slow and device == "cpu" else tuple(DTYPES)
    inputs = {dtype: make_inputs(case, locations, DTYPES[dtype], device) for dtype in dtypes}
    memory = {dtype: memory_of(case, DTYPES[dtype], device, threads) for dtype in dtypes}
    contenders = {
        (implementation.name, dtype): Contender(implementation, inputs[dtype])
        for dtype in dtypes
        for implementation in implementations(device, DTYPES[dtype])
    }
    # First of all, because it is every contender's first call.
    errors = {key: contender.errors() for key, contender in contenders.items()}
    rows_read = {dtype: count_rows(inputs[dtype].sampled) for dtype in dtypes}
    sizes = asdict(case) | {"tokens": case.tokens, "levels": case.levels}
    del sizes["slow"]
    rows = []
    for direction in DIRECTIONS:
        calls = {key: contender.call(direction) for key, contender in contenders.items()}
        rounds = (LEAST_ROUNDS, options.rounds)
        samples = interleaved_us(calls, rounds=rounds, seconds=options.seconds)
        for (name, dtype), contender in contenders.items():
            bytes_moved = rows_read[dtype].bytes_moved(contender.arguments, direction)
            row = {
                "case": case.name,
                "sizes": sizes,
                "locations": locations,
                "dtype": dtype,
                "implementation": name,
                "pass": direction,
                **times(samples, (name, dtype), bytes_moved),
                **memory[dtype][name][direction],
                "relative_errors": errors[name, dtype][direction],
            }
            if device == "cuda":
                row["kernels_us"] = kernels_us(calls[name, dtype])
            rows.append(row)
    return rows


class Contender:
    """An implementation with its inputs."""

    def __init__(self, implementation: Implementation, inputs: Inputs) -> None:
        self.implementation = implementation
        self.inputs = inputs
        self.arguments = inputs.arguments(implementation.fused)

    def errors(self) -> dict[Direction, dict[str, float]]:
        return relative_errors(self.implementation.function, self.implementation.fused, self.inputs)

    def call(self, direction: Direction) -> Callable[[], object]:
        """One pass alone: forward without gradients, or backward again and again."""
        attend, arguments = self.implementation.function, self.arguments
        if direction == "forward":
            return torch.no_grad()(lambda: attend(*arguments.call()))
        output = attend(*arguments.call())
        return lambda: torch.autograd.grad(
            output, arguments.learned(), self.inputs.grad_output, retain_graph=True
        )


def times(samples: Samples, key: Key, bytes_moved: Bytes) -> dict[str, Any]:
    """A contender's time, its rates, and its ratios to the others of the same dtype.

    A ratio's median and spread are those of the rounds' ratios: both were measured together.
    """
    name, dtype = key
    own = samples[key]
    time_us = spread(own)

    def speedup_over(other: Key) -> dict[str, float]:
        return spread([theirs / ours for theirs, ours in zip(samples[other], own, strict=True)])

    row: dict[str, Any] = {
        "rounds": len(own),
        "median_us": time_us["median"],
        "iqr_us": time_us["iqr"],
        "speedup_over": {
            other: speedup_over((other, dtype))
            for other, other_dtype in samples
            if other_dtype == dtype and not other.startswith("solq_ops") and other != name
        },
        "bytes": bytes_moved,
        "gb_s": {kind: moved / time_us["median"] / 1e3 for kind, moved in bytes_moved.items()},
    }
    if dtype != "float32" and (name, "float32") in samples:
        row["speedup_over_float32"] = speedup_over((name, "float32"))
    return row


def kernels_us(call: Callable[[], object], repeats: int = 10) -> float:
    """Time on the GPU alone, without the host's part of a call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(repeats):
            call()
        torch.cuda.synchronize()
    total: float = sum(event.self_device_time_total for event in profile.key_averages())
    return total / repeats


@functools.cache
def memory_of(
    case: Case, dtype: torch.dtype, device: str, threads: int
) -> dict[str, dict[Direction, Bytes]]:
    """`measure_memory`, once for all kinds of points; on a CPU in a new process."""
    arguments = (case, dtype, device, threads)
    if device == "cuda":
        return measure_memory(*arguments)
    # Forked from a process that has loaded torch but never used a thread.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "solq_ops"])
    with ProcessPoolExecutor(1, context) as executor:
        return executor.submit(measure_memory, *arguments).result()


if __name__ == "__main__":
    main()
