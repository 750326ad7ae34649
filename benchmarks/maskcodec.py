"""Masks to vectors, back, and to run lengths, against the published path and who else does it.

One thread everywhere, but where a name says two.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Read when NumPy's, torch's and the peers' libraries are loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = "1"

import numpy as np
import torch
from common import clock, interleaved_us, save_json, spread
from maskcodec_contenders import (
    CODEC,
    OURS,
    PRODUCT_SIZE,
    PRODUCTS,
    PUBLISHED,
    Calls,
    Contenders,
    exact_masks,
    exact_vectors,
    products,
    products_of,
)
from maskcodec_imports import import_rows
from maskcodec_memory import batch_rows, fits, image_memory
from maskcodec_scenes import Scene, make_masks, make_scene
from maskcodec_tables import (
    print_facts,
    print_goals,
    print_imports,
    print_memory,
    print_products,
    print_times,
)
from process_memory import in_new_process

from solq_maskcodec import backend, masks_to_rle, paste_masks

Row = dict[str, Any]
Check = Callable[[str, Any], float | None]

COUNTS = (1, 100, 1000)
# At more masks than this the published loop takes seconds, and as long a mask.
MOST_PUBLISHED = 100
PER_IMAGE = 100  # detections
IMAGE_SIZES = ((480, 640), (800, 1333))
REFINING = (10, 200)
BATCHES = (1000, 10_000, 100_000)
LEAST_ROUNDS = 3


def main() -> None:
    options = parse_options()
    torch.set_num_threads(1)
    start = time.perf_counter()
    contenders = Contenders()
    scenes = [make_scene(PER_IMAGE, size) for size in IMAGE_SIZES[: 1 if options.quick else None]]
    facts = {
        "peers": contenders.state,
        "backend": str(backend()),
        "scenes": {scene.name: scene.facts() for scene in scenes},
    }
    print_facts(facts)
    suite = Suite(options, contenders)
    for count in COUNTS[: 2 if options.quick else None]:
        suite.encode(count)
    suite.refine()
    for count in COUNTS[: 2 if options.quick else None]:
        suite.decode(count)
    for scene in scenes:
        suite.rle(scene)
    suite.memory()
    suite.batches()
    suite.imports()
    print_goals(suite.rows)
    print(f"\n{time.perf_counter() - start:.0f} s")
    save_json(options.output, "maskcodec", suite.rows, **facts)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--quick", action="store_true", help="small cases and few rounds")
    parser.add_argument("--rounds", type=int, default=21, help="the most rounds of a measurement")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="after which only the first rounds still begin"
    )
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = min(options.rounds, 5), min(options.seconds, 1.0)
    return options


class Suite:
    """The measurements, in the order in which they are printed; `rows` has them all."""

    def __init__(self, options: argparse.Namespace, contenders: Contenders) -> None:
        self.options = options
        self.contenders = contenders
        self.rows: list[Row] = []

    def encode(self, count: int) -> None:
        masks = make_masks(count)
        exact = exact_vectors(masks)
        calls = self.contenders.encode(masks)
        self._measure("encode", count, calls, lambda _, vectors: largest_error(vectors, exact))

    def refine(self) -> None:
        masks = make_masks(PER_IMAGE)
        refining = REFINING[: 1 if self.options.quick else None]
        calls: Calls = {
            f"{OURS} refine={rounds}": lambda rounds=rounds: CODEC.encode(masks, refine=rounds)
            for rounds in refining
        }
        self._measure("refine", PER_IMAGE, calls, lambda *_: None)

    def decode(self, count: int) -> None:
        vectors = CODEC.encode(make_masks(count))
        exact = exact_masks(vectors)
        calls = self.contenders.decode(vectors, with_published=count <= MOST_PUBLISHED)

        def pixels(name: str, masks: Any) -> float | None:
            is_other_rule = name.startswith(OURS) and name.endswith(("isodata", "0.5"))
            return None if is_other_rule else float((np.asarray(masks) != exact).sum())

        self._measure("decode", count, calls, pixels)

    def rle(self, scene: Scene) -> None:
        vectors = CODEC.encode(scene.masks)
        pasted = paste_masks(CODEC.decode(vectors, "midrange"), scene.boxes, scene.image_size)
        exact = masks_to_rle(pasted)
        del pasted

        def strings(name: str, rles: Any) -> float | None:
            if name.endswith("isodata"):
                return None
            return float(sum(one != other for one, other in zip(rles, exact, strict=True)))

        calls = self.contenders.rle(vectors, scene)
        self._measure("rle", len(scene.masks), calls, strings, image_size=scene.name)

    def _measure(
        self, step: str, count: int, calls: Calls, check: Check, image_size: str | None = None
    ) -> None:
        """One row for each call; all of them take turns, also with what the machine can do."""
        # First of all, because it is everyone's first call.
        checked = {name: check(name, call()) for name, call in calls.items()}
        cores = {name: cores_of(call) for name, call in calls.items()}
        limited = step in ("encode", "decode") and count == PER_IMAGE
        samples = interleaved_us(
            calls | (products() if limited else {}),
            rounds=(LEAST_ROUNDS, self.options.rounds),
            seconds=self.options.seconds,
        )
        rows = []
        for name in calls:
            time_us = spread([sample / count for sample in samples[name]])
            row: Row = {
                "step": step,
                "masks": count,
                "image_size": image_size,
                "implementation": name,
                "rounds": len(samples[name]),
                "median_us": time_us["median"],
                "iqr_us": time_us["iqr"],
                "least_us": min(samples[name]) / count,
                "difference": checked[name],
                "cores": cores[name],
            }
            if name.startswith(OURS):
                row["speedup_over"] = speedups(samples, name)
                if limited:
                    row["times_limit"] = times_limit(samples, name, products_of(step) * count)
            rows.append(row)
        title = step if image_size is None else f"{step} at {image_size}"
        print_times(f"{title}, {count} mask{'s' if count > 1 else ''}", rows)
        if limited:
            rows += product_rows(samples)
            print_products(rows[-len(PRODUCTS) :])
        self.rows += rows

    def memory(self) -> None:
        """Of one image's run lengths, ours and the published path's."""
        scene = make_scene(PER_IMAGE, IMAGE_SIZES[-1])
        measured = {row["implementation"] for row in self.rows if row["step"] == "rle"}
        rows = [
            {
                "step": "memory",
                "masks": PER_IMAGE,
                "image_size": scene.name,
                "implementation": name,
                **in_new_process(image_memory, name, scene),
            }
            for name in (OURS, f"{OURS} NumPy only", PUBLISHED)
            if name in measured
        ]
        print_memory(f"vectors to rle at {scene.name}, {PER_IMAGE} masks", rows)
        self.rows += rows

    def batches(self) -> None:
        """Very many masks in one call."""
        rows = []
        for count in BATCHES[: 2 if self.options.quick else None]:
            if not fits(count):
                print(f"\nleft out: {count} masks at once, for want of memory")
                continue
            seconds = self.options.seconds / 8
            for row in in_new_process(batch_rows, count, IMAGE_SIZES[0], seconds):
                rows.append({**row, "implementation": OURS})
        print_memory("very many masks in one call", rows)
        self.rows += rows

    def imports(self) -> None:
        rows = import_rows(("numpy", OURS), repeats=3 if self.options.quick else 9)
        print_imports(rows)
        for row in rows:
            if row["brings"]:
                msg = f"import {row['implementation']} brings {row['brings']}"
                raise SystemExit(msg)
        self.rows += rows


def largest_error(vectors: Any, exact: np.ndarray[Any, Any]) -> float:
    return float(np.abs(np.asarray(vectors) - exact).max())


def cores_of(call: Callable[[], Any]) -> float:
    """Seconds of processor per second: more than 1 tells of threads."""
    processor = time.process_time()
    seconds = clock(call)
    return (time.process_time() - processor) / seconds


def speedups(samples: dict[str, list[float]], name: str) -> dict[str, dict[str, float]]:
    """How many times as fast as those that are not ours: median and spread of the rounds."""
    return {
        other: spread([theirs / ours for theirs, ours in zip(times, samples[name], strict=True)])
        for other, times in samples.items()
        if not other.startswith(OURS) and other not in PRODUCTS
    }


def product_rows(samples: dict[str, list[float]]) -> list[Row]:
    """What the machine can do: the rate of one large product in each library."""
    rows = []
    for name in PRODUCTS:
        rates = spread([2 * PRODUCT_SIZE**3 / time_us / 1e3 for time_us in samples[name]])
        row = {"step": "product", "implementation": name, "rounds": len(samples[name])}
        rows.append({**row, "gflop_s": rates["median"], "iqr_gflop_s": rates["iqr"]})
    return rows


def times_limit(samples: dict[str, list[float]], name: str, operations: int) -> dict[str, float]:
    """The time, as a multiple of what the better library's large product needs for as much."""
    best = [min(times) for times in zip(*(samples[product] for product in PRODUCTS), strict=True)]
    needed = [product * operations / (2 * PRODUCT_SIZE**3) for product in best]
    return spread([ours / least for ours, least in zip(samples[name], needed, strict=True)])


if __name__ == "__main__":
    main()
