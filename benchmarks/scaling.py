"""What the model of scaling needs: counts, padding, loading, and exchanges of gradients by gloo.

The machine's processes share its cores: times of several say how the parts add up, not how fast
a cluster is. docs/scaling.md is made from the result.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from common import clock, save_json
from scaling_model import GPUS, PRESETS, shard_bytes
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from solq_model import Categories, build_model, presets
from solq_train.data import CocoInstances, find_split, make_shapes, read_coco
from solq_train.distributed import Processes, process_group
from solq_train.loading import train_transform
from solq_train.portion import losses_of, portions
from solq_train.recipes import r50_coco, tiny_cpu
from solq_train.run import Run, prepare_run
from solq_train.step import train_step

IMAGE_SIZE = (800, 1088)
SEED = 20210604
DRAWS = 1  # sizes of each image that chance decides on
BATCHES = 500  # of each size, to take means over
STEPS, WARM_UP = 5, 1
EXCHANGES = 3
PROCESSES = (1, 2)
SHARDS = (1, 8, 32, 64)


class _OperatorCount(TorchDispatchMode):
    """Counts what is dispatched to a device; views launch nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def preset_rows() -> list[dict[str, Any]]:
    """Parameters, gradients, operations and operators of each network, without any data."""
    rows = []
    for preset in PRESETS:
        with torch.device("meta"):
            model = build_model(getattr(presets, preset)()).eval()
            image = torch.empty(3, *IMAGE_SIZE)
            with FlopCounterMode(display=False) as operations:
                model([image])
            with _OperatorCount() as operators:
                model([image])
        shapes = [tuple(parameter.shape) for parameter in model.parameters()]
        trained = [parameter.requires_grad for parameter in model.parameters()]
        rows.append(
            {
                "part": "presets",
                "preset": preset,
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "gradient_bytes": 4 * sum(p.numel() for p in model.parameters() if p.requires_grad),
                "gflops": operations.get_total_flops() / 1e9,
                "operators": operators.count,
                "shard_bytes": {str(n): shard_bytes(shapes, trained, n) for n in SHARDS},
            }
        )
    return rows


def sample_sizes(data: Path) -> tuple[list[tuple[int, int]], float]:
    """Sizes (height, width) of training samples by the published transform, and images a second.

    That is of one process: pictures read and transformed, without masks.
    """
    config = r50_coco()
    split = find_split(data, "train")
    categories = Categories.by_id(read_coco(split.annotations).categories)
    dataset = CocoInstances(
        split.annotations, split.images, categories, train_transform(config.data), seed=SEED
    )
    sizes = []
    start = time.process_time()
    for draw in range(DRAWS):
        dataset.set_epoch(draw)
        for index in range(len(dataset)):
            image, _ = dataset[index]
            sizes.append((image.shape[1], image.shape[2]))
    return sizes, len(sizes) / (time.process_time() - start)


def padding_rows(sizes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Pixels of a padded image by the size of the batch, and of the largest image in it.

    The whole batch is padded alike here; where each of n processes pads its own image only, all
    wait for the largest.
    """
    chance = random.Random(SEED)
    mean = statistics.fmean(height * width for height, width in sizes)
    rows = []
    for batch in sorted({32, *(4 * n for n in GPUS)}):
        padded, largest = [], []
        for _ in range(max(50, BATCHES * 32 // batch)):
            drawn = chance.choices(sizes, k=batch)
            padded.append(max(h for h, _ in drawn) * max(w for _, w in drawn))
            largest.append(max(height * width for height, width in drawn))
        rows.append(
            {
                "part": "padding",
                "batch": batch,
                "mean_pixels": mean,
                "padded_pixels": statistics.fmean(padded),
                "padding_factor": statistics.fmean(padded) / mean,
                "largest_factor": statistics.fmean(largest) / mean,
            }
        )
    return rows


def process_rows(counts: tuple[int, ...], gradient_bytes: int) -> list[dict[str, Any]]:
    """What several processes of this machine take, each count in new ones."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_shapes(Path(folder) / "shapes", num_train=16, num_val=3)
        for count in counts:
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
            command = [sys.executable, *(launcher * (count > 1)), *([str(count)] * (count > 1))]
            command += [__file__, "--worker", folder, "--bytes", str(gradient_bytes)]
            subprocess.run(command, check=True)
            rows += json.loads((Path(folder) / f"{count}.json").read_text())
    return rows


def work(folder: Path, gradient_bytes: int) -> None:
    """A process's part of `process_rows`; the first one writes."""
    torch.set_num_threads(1)
    with process_group() as processes:
        # DDP has to be gone before the group is, or its threads end the process.
        rows = _measured_rows(folder, gradient_bytes, processes)
        if processes.is_first:
            (folder / f"{processes.count}.json").write_text(json.dumps(rows))
        processes.wait()


def _measured_rows(folder: Path, gradient_bytes: int, processes: Processes) -> list[dict[str, Any]]:
    config = replace(tiny_cpu(), device="cpu")
    rows = [
        _step_row(prepare_run(config, find_split(folder / "shapes", "train"), processes), folder)
    ]
    if processes.count > 1:
        exchange = {"part": "all_reduce", "processes": processes.count, "of": "r50"}
        seconds = _exchange(gradient_bytes, processes)
        rows.append({**exchange, "bytes": gradient_bytes, "seconds": seconds})
    return rows


def _step_row(run: Run, folder: Path) -> dict[str, Any]:
    """A step of the tiny recipe with a batch of 8 in all, and without the exchange."""
    run.model.train()
    batch = next(iter(run.loader))
    size = 4 * sum(p.numel() for p in run.model.parameters() if p.requires_grad)

    def backward() -> None:
        for portion in portions(
            batch,
            parts=1,
            num_queries=run.config.model.num_queries,
            processes=run.processes,
            seed=0,
            step=0,
        ):
            losses_of(
                run.network, run.model.codec, run.criterion, portion, "float32"
            ).total.backward()

    def backward_alone() -> None:
        if isinstance(run.network, DistributedDataParallel):
            with run.network.no_sync():
                backward()
        else:
            backward()

    row: dict[str, Any] = {
        "part": "step",
        "processes": run.processes.count,
        "step_seconds": _median(lambda: train_step(run, batch, 0, folder), run.processes),
        "backward_seconds": _median(backward, run.processes),
        "backward_alone_seconds": _median(backward_alone, run.processes),
        "gradient_bytes": size,
    }
    if run.processes.count > 1:
        exchange = _exchange(size, run.processes)
        exposed = row["backward_seconds"] - row["backward_alone_seconds"]
        row |= {"exchange_seconds": exchange, "overlap_share": 1 - exposed / exchange}
    return row


def _median(call: Callable[[], object], processes: Processes) -> float:
    for _ in range(WARM_UP):
        call()
    seconds = []
    for _ in range(STEPS):
        processes.wait()
        seconds.append(clock(call))
    return statistics.median(seconds)


def _exchange(num_bytes: int, processes: Processes) -> float:
    """Seconds of an all-reduce."""
    values: Tensor = torch.zeros(num_bytes // 4)
    dist.all_reduce(values)
    seconds = []
    for _ in range(EXCHANGES):
        processes.wait()
        seconds.append(clock(lambda: dist.all_reduce(values)))
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="the JSON file to write")
    parser.add_argument("--data", type=Path, help="images of COCO, for sizes and loading")
    parser.add_argument("--quick", action="store_true", help="one process only")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bytes", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        work(options.worker, options.bytes)
        return
    if options.output is None:
        parser.error("--output is needed")
    rows = preset_rows()
    if options.data is not None:
        sizes, rate = sample_sizes(options.data)
        rows += [{"part": "loading", "images_per_second": rate}, *padding_rows(sizes)]
    else:
        print("scaling: no --data, so no sizes of images and no rate of loading")
    gradient_bytes = next(row["gradient_bytes"] for row in rows if row.get("preset") == "r50")
    rows += process_rows(PROCESSES[:1] if options.quick else PROCESSES, gradient_bytes)
    for row in rows:
        print(json.dumps(row))
    save_json(options.output, "scaling", rows, image_size=IMAGE_SIZE, seed=SEED)


if __name__ == "__main__":
    main()
