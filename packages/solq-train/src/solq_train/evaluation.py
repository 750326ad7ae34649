"""Evaluation: a model on the images of an annotation file → COCO numbers and detections."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from solq_model.postprocess import postprocess
from solq_model.preprocess import Preprocessing
from solq_model.records import Instances
from solq_model.solq import SOLQ
from solq_train.data import CocoImage, Split, load_image, read_coco
from solq_train.data.dataset import check_files
from solq_train.distributed import ALONE, Processes
from solq_train.metrics import CocoEvaluator, CocoMetrics, Detections, Evaluator
from solq_train.progress import show_steps
from solq_train.stopping import leave_signals_to_the_parent


class EvaluationImages(Dataset[tuple[Tensor, CocoImage]]):
    """The images of an annotation file, prepared for the network, without their objects."""

    def __init__(
        self, split: Split, preprocessing: Preprocessing, image_ids: Collection[int] | None = None
    ) -> None:
        self.split = split
        self.preprocessing = preprocessing
        images = read_coco(split.annotations).images
        self.images = [i for i in images if image_ids is None or i.id in image_ids]
        check_files(self.images, split.images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, CocoImage]:
        record = self.images[index]
        return self.preprocessing(load_image(self.split.images, record)), record


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The COCO numbers and what they were computed from."""

    metrics: CocoMetrics
    detections: Detections


def evaluate(
    model: SOLQ,
    split: Split,
    console: Console,
    *,
    top_k: int = 100,
    batch_size: int = 1,
    num_workers: int = 0,
    evaluator: Evaluator = "pycocotools",
    image_ids: Collection[int] | None = None,
    processes: Processes = ALONE,
) -> Evaluation:
    """Run the model over a split. Memory does not grow but by the run lengths of the masks.

    Results do not depend on `batch_size`: no padding passes the convolutions. Several processes
    share the images, each of which is evaluated once; all get the numbers, and the first the
    detections.
    """
    images = EvaluationImages(split, model.preprocessing, image_ids)
    images.images = images.images[processes.rank :: processes.count]
    scorer = CocoEvaluator(
        split.annotations,
        image_ids=image_ids,
        has_masks=model.config.has_masks,
        evaluator=evaluator,
    )
    loader: DataLoader[tuple[Tensor, CocoImage]] = DataLoader(
        images,
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=list,
        worker_init_fn=leave_signals_to_the_parent,
    )
    was_training = model.training
    model.eval()
    try:
        with show_steps(console, "evaluate", len(images)) as advance, torch.inference_mode():
            for samples in loader:
                found = find_instances(model, samples, top_k)
                for (_, record), instances in zip(samples, found, strict=True):
                    scorer.add(record.id, instances, model.categories)
                advance(len(samples))
    finally:
        model.train(was_training)
    scorer.detections = Detections.joined(processes.gather([scorer.detections]))
    metrics = processes.share([scorer.summarize()] if processes.is_first else [])
    return Evaluation(metrics=metrics[0], detections=scorer.detections)


def find_instances(
    model: SOLQ, samples: Sequence[tuple[Tensor, CocoImage]], top_k: int
) -> list[Instances]:
    """What the network finds in prepared images, at the sizes of their records."""
    device = next(model.parameters()).device
    predictions = model([image.to(device) for image, _ in samples], batch_invariant=True)
    sizes = [(record.height, record.width) for _, record in samples]
    return postprocess(predictions, sizes, model.codec, top_k)


def image_ids_of(annotations: Path, limit: int | None) -> set[int] | None:
    """The ids of the first images of a file; None for all of them."""
    if limit is None:
        return None
    if limit < 1:
        msg = f"limit must be at least 1, got {limit}"
        raise ValueError(msg)
    return {image.id for image in read_coco(annotations).images[:limit]}
