"""A training step in stages, and the loading of its images: ours and the published ones."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset
from train_published import CLIP_NORM, PublishedTraining, published_loader

from solq_model import Categories, presets
from solq_model.preprocess import normalize
from solq_train.config import DataConfig, OptimizerConfig, TrainConfig
from solq_train.criterion import encode_targets
from solq_train.data import Batch, CocoInstances, Split, collate, read_coco
from solq_train.loading import train_transform
from solq_train.run import Run, prepare_run

STAGES = ("data", "forward", "criterion", "backward", "optimizer")
Step = Callable[[], list[float]]  # a step → the seconds of each stage
LOADED_TOGETHER = 4


def loading(
    split: Split, num_images: int, num_workers: int, checkout: Path | None
) -> dict[str, Callable[[], object]]:
    """Calls that load the first images of a split, by the published transforms."""
    dataset = CocoInstances(
        split.annotations,
        split.images,
        Categories.contiguous(read_coco(split.annotations).categories),
        train_transform(DataConfig()),
    )
    ours: DataLoader[Any] = DataLoader(
        Subset(dataset, range(num_images)),
        batch_size=LOADED_TOGETHER,
        num_workers=num_workers,
        collate_fn=collate,
    )
    calls: dict[str, Callable[[], object]] = {"solq_train": lambda: list(map(len_of, ours))}
    if checkout is not None:
        theirs = published_loader(
            checkout,
            split,
            num_images=num_images,
            batch_size=LOADED_TOGETHER,
            num_workers=num_workers,
        )
        calls["published"] = lambda: [len(targets) for _, targets in theirs]
    return calls


def len_of(batch: Batch) -> int:
    return len(batch.images)


def our_step(run: Run) -> Step:
    """Steps of a run, one after another, as the engine makes them."""
    run.model.train()
    batches = endless(run.loader)

    def step() -> list[float]:
        marks = [time.perf_counter()]
        batch: Batch = next(batches)
        marks.append(time.perf_counter())
        predictions = run.model([normalize(image) for image in batch.images])
        marks.append(time.perf_counter())
        targets = encode_targets(batch.targets, run.model.codec)
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

    return step


def r50_run(split: Split, short_side: int) -> Run:
    """R50 with images of one size, one at a time."""
    data = DataConfig(short_sides=(short_side,), crop=0.0, horizontal_flip=0.0, num_workers=0)
    optimizer = OptimizerConfig(batch_size=1)
    config = TrainConfig(model=presets.r50(), data=data, optimizer=optimizer, device="cpu")
    return prepare_run(config, split)


def published_step(checkout: Path, split: Split, short_side: int) -> Step:
    """The same of the published code."""
    training = PublishedTraining(checkout)
    batches = endless(
        published_loader(checkout, split, batch_size=1, num_workers=0, short_side=short_side)
    )

    def step() -> list[float]:
        marks = [time.perf_counter()]
        images, targets = next(batches)
        marks.append(time.perf_counter())
        outputs = training.model(list(images))
        marks.append(time.perf_counter())
        loss = training.loss(outputs, targets)
        marks.append(time.perf_counter())
        training.optimizer.zero_grad()
        loss.backward()
        marks.append(time.perf_counter())
        torch.nn.utils.clip_grad_norm_(training.model.parameters(), CLIP_NORM)
        training.optimizer.step()
        marks.append(time.perf_counter())
        return [after - before for before, after in itertools.pairwise(marks)]

    return step


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader
