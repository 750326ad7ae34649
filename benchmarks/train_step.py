"""A training step of the tiny recipe: where its time goes."""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from common import save_json

from solq_model.preprocess import normalize
from solq_train.criterion import encode_targets
from solq_train.data import Batch, find_split, make_shapes
from solq_train.recipes import tiny_cpu
from solq_train.run import Run, prepare_run

STEPS, WARM_UP = 40, 8
STAGES = ("data", "encode targets", "forward", "criterion", "backward", "optimizer")


def step_times(run: Run, batches: Iterator[Batch]) -> list[float]:
    """Seconds of each stage of one step."""
    marks = [time.perf_counter()]
    batch = next(batches)
    marks.append(time.perf_counter())
    targets = encode_targets(batch.targets, run.codec)
    marks.append(time.perf_counter())
    predictions = run.model([normalize(image) for image in batch.images])
    marks.append(time.perf_counter())
    losses = run.criterion(predictions, targets)
    marks.append(time.perf_counter())
    run.optimizer.zero_grad(set_to_none=True)
    losses.total.backward()
    marks.append(time.perf_counter())
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.config.optimizer.clip_norm)
    run.optimizer.step()
    run.schedule.step()
    marks.append(time.perf_counter())
    return [after - before for before, after in itertools.pairwise(marks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shapes = Path(folder) / "shapes"
        make_shapes(shapes, num_train=(STEPS + WARM_UP) * 8, num_val=3)
        run = prepare_run(tiny_cpu(), find_split(shapes, "train"))
        run.model.train()
        batches = iter(run.loader)
        samples = [step_times(run, batches) for _ in range(STEPS + WARM_UP)][WARM_UP:]
    rows = []
    for stage, times in zip(STAGES, zip(*samples, strict=True), strict=True):
        lower, median, upper = statistics.quantiles(times, n=4, method="inclusive")
        rows.append({"stage": stage, "median_us": median * 1e6, "iqr_us": (upper - lower) * 1e6})
        print(f"{stage:16}{median * 1e3:8.1f} ms")
    print(f"{'step':16}{statistics.median(map(sum, samples)) * 1e3:8.1f} ms")
    save_json(options.output, "train_step", rows)


if __name__ == "__main__":
    main()
