"""Training: images loaded, the stages of a step, evaluation; beside the published code."""

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from common import interleaved_us, save_json, spread
from train_evaluation import PREDICTIONS, EvaluationPaths
from train_scenes import write_scenes
from train_steps import STAGES, Step, loading, our_step, published_step, r50_run

from solq_train.data import Split, find_split, make_shapes, read_coco
from solq_train.recipes import tiny_cpu
from solq_train.run import prepare_run

Row = dict[str, Any]
PUBLISHED = "published"


def main() -> None:
    options = parse_options()
    start = time.perf_counter()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        if options.data is None:
            write_scenes(Path(temporary) / "scenes", options.images)
        folder = options.data or Path(temporary) / "scenes"
        train, validation = find_split(folder, "train"), find_split(folder, "val")
        options.images = min(options.images, len(read_coco(train.annotations).images))
        rows = loading_rows(options, train)
        rows += tiny_rows(options, Path(temporary) / "shapes")
        rows += r50_rows(options, train)
        rows += evaluation_rows(options, validation)
    print(f"\n{time.perf_counter() - start:.0f} s")
    facts = {"data": "made up" if options.data is None else options.data.name}
    facts[PUBLISHED] = "a checkout" if options.published else "absent: its rows are left out"
    save_json(options.output, "train", rows, **facts)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    checkout = os.environ.get("SOLQ_PUBLISHED")
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--quick", action="store_true", help="a minute: few images and rounds")
    parser.add_argument("--data", type=Path, help="a folder in COCO layout (default: made up)")
    parser.add_argument("--images", type=int, default=48, help="to load and to evaluate, at most")
    parser.add_argument("--short-side", type=int, default=480, help="of the images of R50's steps")
    parser.add_argument("--rounds", type=int, default=3, help="of whatever has a counterpart")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--published",
        type=Path,
        default=Path(checkout) if checkout else None,
        help="a checkout of megvii-research/SOLQ (default: that of SOLQ_PUBLISHED)",
    )
    options = parser.parse_args()
    if options.quick:
        options.images, options.short_side, options.rounds = 8, 192, 2
    if options.published and importlib.util.find_spec("cv2") is None:
        print("published: not measured, it needs OpenCV (--peers)")
        options.published = None
    return options


def loading_rows(options: argparse.Namespace, split: Split) -> list[Row]:
    """Images per second by the published transforms, in this process and by two others."""
    rows = []
    print(f"\n{'images loaded':24}{'workers':>8}{'images/s':>10}{RATIO}")
    for num_workers in (0, 2):
        calls = loading(split, options.images, num_workers, options.published)
        for name, row in in_turns(calls, options.rounds).items():
            rate = options.images / row["median_us"] * 1e6
            rows.append({"part": "loading", "who": name, "workers": num_workers, **row})
            rows[-1]["images_per_second"] = rate
            print(f"{name:24}{num_workers:8}{rate:10.1f}{shown(row)}", flush=True)
    return rows


def tiny_rows(options: argparse.Namespace, folder: Path) -> list[Row]:
    """The stages of a step of the tiny recipe, eight images each."""
    steps, warm_up = (8, 2) if options.quick else (40, 8)
    make_shapes(folder, num_train=64, num_val=3)
    step = our_step(prepare_run(tiny_cpu(), find_split(folder, "train")))
    for _ in range(warm_up):
        step()
    return step_rows(
        "tiny_cpu, 8 images of 128 x 128", {"solq_train": [step() for _ in range(steps)]}
    )


def r50_rows(options: argparse.Namespace, split: Split) -> list[Row]:
    """The stages of a step of R50 with one image."""
    side = options.short_side
    steps: dict[str, Step] = {"solq_train": our_step(r50_run(split, side))}
    if options.published is not None:
        steps[PUBLISHED] = published_step(options.published, split, side)
    samples: dict[str, list[list[float]]] = {name: [] for name in steps}
    for finished in range(options.rounds + 1):
        for name in reversed(steps) if finished % 2 else steps:
            seconds = steps[name]()
            if finished:  # what happens once is not what is measured
                samples[name].append(seconds)
    return step_rows(f"R50, 1 image with a short side of {side}", samples)


def step_rows(what: str, samples: Mapping[str, list[list[float]]]) -> list[Row]:
    """A row for each stage, and one for the whole."""
    rows = []
    print(f"\n{what:48}{'ms':>10}{RATIO}")
    ours = samples["solq_train"]
    for place, stage in enumerate((*STAGES, "step")):
        own = [seconds_of(one, place) for one in ours]
        for name, found in samples.items():
            times = [seconds_of(one, place) for one in found]
            row = spread([1e6 * one for one in times])
            row = {"median_us": row["median"], "iqr_us": row["iqr"]}
            if name != "solq_train":
                row["times_ours"] = statistics.median(map(divide, times, own))
            rows.append({"part": "step", "case": what, "who": name, "stage": stage, **row})
            print(f"{stage:24}{name:24}{row['median_us'] / 1e3:10.1f}{shown(row)}", flush=True)
    return rows


def seconds_of(stages: list[float], place: int) -> float:
    """Of the stage at this place; of all of them after the last."""
    return sum(stages) if place == len(stages) else stages[place]


def evaluation_rows(options: argparse.Namespace, split: Split) -> list[Row]:
    """An image's share of an evaluation, the network apart, on one thread."""
    torch.set_num_threads(1)
    paths = EvaluationPaths(split.annotations, options.images, options.published)
    images = len(paths.found)
    rows = []
    for part, calls in (("run lengths", paths.run_lengths()), ("evaluation", paths.evaluations())):
        print(f"\n{part}, {PREDICTIONS} predictions an image{'':10}{'ms an image':>12}{RATIO}")
        for name, row in in_turns(calls, options.rounds).items():
            per_image = {"images": images, "ms_per_image": row["median_us"] / images / 1e3}
            rows.append({"part": part, "who": name, **row, **per_image})
            print(f"{name:48}{per_image['ms_per_image']:10.2f}{shown(row)}", flush=True)
    differences = paths.largest_difference()
    for row in rows:
        if row["part"] == "evaluation" and row["who"] in differences:
            row["largest_difference"] = differences[row["who"]]
    print("largest difference of the 24 numbers to pycocotools':", differences)
    return rows


def in_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Row]:
    """The time of each call, and how often the first one's; ratios are those of the rounds."""
    rounds = max(2, rounds)
    for call in calls.values():
        call()
    samples = interleaved_us(calls, rounds=(rounds, rounds), seconds=0)
    ours, *others = samples
    rows: dict[str, Row] = {}
    for name, times in samples.items():
        found = spread(times)
        rows[name] = {"median_us": found["median"], "iqr_us": found["iqr"]}
        if name in others:
            rows[name]["times_ours"] = statistics.median(map(divide, times, samples[ours]))
    return rows


def divide(time: float, base: float) -> float:
    return time / base


RATIO = f"{'x ours':>10}"


def shown(row: Row) -> str:
    return f"{row['times_ours']:10.2f}" if "times_ours" in row else ""


if __name__ == "__main__":
    main()
