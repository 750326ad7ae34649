"""Networks: what every preset costs, and R50 beside the published code and Transformers."""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch
from common import interleaved_us, save_json, spread
from model_contenders import (
    OURS,
    Contender,
    all_presets,
    contender,
    contenders,
    state_of,
)
from model_cost import count, cuda_rows, memory_of
from process_memory import in_new_process

Row = dict[str, Any]
Size = tuple[int, int]

IMAGE_SIZE, QUICK_SIZE = (800, 1088), (192, 256)
# Of presets that are for small images.
IMAGE_SIZES = {"tiny": (128, 128), "small": (256, 256)}
KINDS = ("forward", "step")


def main() -> None:
    options = parse_options()
    start = time.perf_counter()
    torch.set_num_threads(options.threads)
    size = QUICK_SIZE if options.quick else IMAGE_SIZE
    state = state_of(options.published)
    for name, found in state.items():
        print(f"{name}: {found}")
    rows = preset_rows(options, size)
    rows += side_by_side(options, size)
    if torch.cuda.is_available():
        rows += cuda_rows(size)
        print_cuda(rows)
    print(f"\n{time.perf_counter() - start:.0f} s")
    save_json(options.output, "model", rows, peers=state)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    checkout = os.environ.get("SOLQ_PUBLISHED")
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--quick", action="store_true", help="small images, R50 and tiny only")
    parser.add_argument(
        "--rounds", type=int, default=5, help="of R50 beside the others, at least 2"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--published",
        type=Path,
        default=Path(checkout) if checkout else None,
        help="a checkout of megvii-research/SOLQ (default: that of SOLQ_PUBLISHED)",
    )
    options = parser.parse_args()
    if options.quick:
        options.rounds = 2
    return options


def preset_rows(options: argparse.Namespace, size: Size) -> list[Row]:
    """What each preset costs for one image."""
    presets = all_presets()
    if options.quick:
        presets = {name: presets[name] for name in ("r50", "tiny")}
    print(f"\n{'preset':32}{'image':>12}{'M params':>10}{'GFLOPs':>9}{MEASURED}")
    rows = []
    for name, preset in presets.items():
        image_size = IMAGE_SIZES.get(name, size)
        samples = timed({name: contender(name, None)}, image_size, rounds=2)
        row = {
            "part": "presets",
            "preset": name,
            "image_size": list(image_size),
            **count(preset, image_size),
            **times_of(samples, name),
            **in_new_process(memory_of, name, None, image_size, options.threads),
        }
        rows.append(row)
        height, width = image_size
        counted = f"{row['parameters'] / 1e6:10.2f}{row['gflops']:9.2f}"
        print(f"{name:32}{f'{height} x {width}':>12}{counted}{measured(row)}", flush=True)
    return rows


def side_by_side(options: argparse.Namespace, size: Size) -> list[Row]:
    """R50 in turns with who else computes it; a ratio is that of each round."""
    names = contenders(options.published, with_checkpointing=True)
    present = {name: contender(name, options.published) for name in names}
    samples = timed(present, size, options.rounds)
    del present
    print(f"\nR50 at {size[0]} x {size[1]}, {options.threads} threads\n{'':32}{MEASURED}{RATIOS}")
    rows: list[Row] = []
    for name in names:
        row = {
            "part": "side by side",
            "implementation": name,
            "image_size": list(size),
            "rounds": options.rounds,
            **times_of(samples, name),
            **in_new_process(memory_of, name, options.published, size, options.threads),
        }
        row["over_ours"] = over_ours(samples, name, row, rows[0] if rows else row)
        rows.append(row)
        ratios = "".join(f"{ratio['median']:10.2f}" for ratio in row["over_ours"].values())
        print(f"{name:32}{measured(row)}{ratios}", flush=True)
    return rows


Samples = dict[str, dict[str, list[float]]]


def timed(present: dict[str, Contender], image_size: Size, rounds: int) -> Samples:
    """Microseconds of each kind of call and contender, in rounds that all take part in."""
    image = torch.randn(3, *image_size, generator=torch.Generator().manual_seed(0))
    calls = {
        "forward": {name: lambda one=one: one.forward(image) for name, one in present.items()},
        "step": {name: lambda one=one: one.step(image) for name, one in present.items()},
    }
    for one in present.values():
        one.step(torch.zeros(3, 64, 96))  # threads and libraries
    return {kind: interleaved_us(calls[kind], rounds=(rounds, rounds), seconds=0) for kind in KINDS}


def times_of(samples: Samples, name: str) -> Row:
    return {
        f"{kind}_{key}_us": value
        for kind in KINDS
        for key, value in spread(samples[kind][name]).items()
    }


def over_ours(samples: Samples, name: str, row: Row, ours: Row) -> dict[str, dict[str, float]]:
    """How many times as much as ours it takes: time, by rounds, and memory."""
    ratios = {
        kind: spread([t / o for t, o in zip(samples[kind][name], samples[kind][OURS], strict=True)])
        for kind in KINDS
    }
    for kind in KINDS:
        key = f"{kind}_extra_bytes"
        if key in row:
            ratios[f"{kind} memory"] = {"median": row[key] / ours[key], "iqr": 0.0}
    return ratios


MEASURED = f"{'forward':>10}{'step':>9} ms{'forward':>9}{'step':>8} MB"
RATIOS = f"   over ours:{'forward':>8}{'step':>10}{'memory':>10}{'of step':>10}"


def measured(row: Row) -> str:
    times = f"{row['forward_median_us'] / 1e3:10.0f}{row['step_median_us'] / 1e3:9.0f}   "
    if "step_extra_bytes" not in row:
        return f"{times}{'':20}"
    memory = f"{row['forward_extra_bytes'] / 1e6:9.0f}{row['step_extra_bytes'] / 1e6:8.0f}   "
    return times + memory


def print_cuda(rows: list[Row]) -> None:
    print(f"\n{'batch':>5}  {'dtype':10}{'mode':10}{'images/s':>9}  deformable attention")
    for row in rows:
        if row["part"] == "cuda":
            share = "" if row["attention_share"] is None else f"{row['attention_share']:.0%}"
            rate = f"{row['images_per_second']:9.1f}"
            print(f"{row['batch']:5}  {row['dtype']:10}{row['mode']:10}{rate}  {share}")


if __name__ == "__main__":
    main()
