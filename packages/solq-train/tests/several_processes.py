"""What test_sharding runs in several processes at once: steps of given runs, and what they came to.

`torchrun several_processes.py FOLDER SHAPES` for the run files `FOLDER/*.run.json`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from solq_train.checkpoint import LAST, Progress, load_newest, save_checkpoint
from solq_train.config import TrainConfig
from solq_train.data import Batch, find_split
from solq_train.distributed import ALONE, Processes, process_group
from solq_train.provenance import file_sha256
from solq_train.run import Run, prepare_run
from solq_train.run_file import read_run_file
from solq_train.sharding import local
from solq_train.step import train_step

# Whose images have no objects in each of the steps, of two processes.
EMPTY = ((1,), (0, 1), (0,), ())
SAVED_AFTER = 2


def without_objects(batch: Batch, start: int, stop: int) -> Batch:
    """The batch with the objects of some of its images taken away."""
    targets = list(batch.targets)
    for index in range(start, stop):
        target = targets[index]
        fields = ("boxes", "labels", "box_masks", "image_masks")
        kept = {name: getattr(target, name) for name in fields}
        nothing = {name: value[:0] for name, value in kept.items() if value is not None}
        targets[index] = replace(target, **nothing)
    return replace(batch, targets=targets)


def emptied(batch: Batch, halves: tuple[int, ...], processes: Processes) -> Batch:
    """This process's batch, or the whole one, without the objects of these halves of the whole."""
    if processes.count > 1:
        return without_objects(batch, 0, len(batch.targets) * (processes.rank in halves))
    size = len(batch.targets) // 2
    for half in halves:
        batch = without_objects(batch, half * size, (half + 1) * size)
    return batch


def steps(run: Run, output: Path, begin: int = 0, end: int = len(EMPTY)) -> list[dict[str, float]]:
    """Losses and norm of each step, all of the same images."""
    run.model.train()
    batch = next(iter(run.loader))
    found = []
    for step in range(begin, end):
        part = emptied(batch, EMPTY[step], run.processes)
        result = train_step(run, part, step, output)
        total = run.processes.sum(result.total.double()) / run.processes.count
        found.append({"loss": total.item(), "grad_norm": result.grad_norm.item()})
    return found


def held_bytes(run: Run) -> int:
    """Of weights, gradients and optimizer moments that this process holds."""
    tensors = [*run.model.parameters()]
    tensors += [p.grad for p in tensors if p.grad is not None]
    moments = run.optimizer.state.values()
    tensors += [state[name] for state in moments for name in ("exp_avg", "exp_avg_sq")]
    return sum(local(tensor).numel() * 4 for tensor in tensors)


def experience(
    config: TrainConfig, shapes: Path, output: Path, processes: Processes = ALONE
) -> dict[str, Any]:
    """The steps of a run, and of the same one stopped in the middle and resumed by another."""
    training = find_split(shapes, "train")
    run = prepare_run(config, training, processes)
    whole = steps(run, output)
    held = held_bytes(run)
    save(run, output / "whole", step=len(EMPTY))
    run = prepare_run(config, training, processes)
    parts = steps(run, output, end=SAVED_AFTER)
    save(run, output / "parts", step=SAVED_AFTER)
    run = prepare_run(config, training, processes)
    for parameter in run.model.parameters():
        local(parameter.detach()).zero_()
    assert load_newest(output / "parts", run.trained) is not None
    parts += steps(run, output, begin=SAVED_AFTER)
    save(run, output / "parts", step=len(EMPTY))
    folders = [output / name / LAST for name in ("whole", "parts")]
    hashes = [file_sha256(folder / "model.safetensors") for folder in folders]
    return {"whole": whole, "parts": parts, "held": held, "hashes": hashes}


def save(run: Run, output: Path, step: int) -> None:
    """A checkpoint of the run, by all of its processes."""
    output.mkdir(exist_ok=True)
    progress = Progress(step=step)
    save_checkpoint(output, run.trained, progress, about={}, processes=run.processes)


def main() -> None:
    folder, shapes = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    with process_group() as processes:
        for path in sorted(folder.glob("*.run.json")):
            name = path.name.removesuffix(".run.json")
            (folder / name).mkdir(exist_ok=True)
            found = experience(read_run_file(path, TrainConfig()), shapes, folder / name, processes)
            held = processes.gather([found["held"]])
            if processes.is_first:
                text = json.dumps(found | {"held": held})
                (folder / f"{name}.found.json").write_text(text)


if __name__ == "__main__":
    main()
