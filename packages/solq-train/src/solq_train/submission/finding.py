"""A model on images, part by part → the detections of each, as lines of JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from solq_model import SOLQ
from solq_model.predict import known_categories
from solq_model.preprocess import Preprocessing
from solq_model.result import coco_detections
from solq_train.data import CocoImage, DataError, load_image
from solq_train.evaluation import find_instances
from solq_train.metrics.detections import Detection
from solq_train.progress import Advance
from solq_train.stopping import leave_signals_to_the_parent
from solq_train.submission.parts import Parts

logger = logging.getLogger(__name__)

Sample = tuple[int, Tensor | DataError]  # an image's place in the file, and its pixels


class _Images(Dataset[Sample]):
    """Images ready for the network, or the reason why one is not."""

    def __init__(
        self, images: Sequence[CocoImage], folder: Path, preprocessing: Preprocessing
    ) -> None:
        self._images = images
        self._folder = folder
        self._preprocessing = preprocessing

    def __getitem__(self, index: int) -> Sample:
        try:
            picture = load_image(self._folder, self._images[index])
        except DataError as error:
            return index, error
        return index, self._preprocessing(picture)


def find_objects(
    model: SOLQ,
    images: Sequence[CocoImage],
    folder: Path,
    parts: Parts,
    advance: Advance,
    *,
    top_k: int,
    batch_size: int,
    num_workers: int,
) -> int:
    """Write the parts that are missing; how many images could not be read.

    Those are told, and the parts they are in are not written, so that they are looked at again.
    Batches begin anew with each part: what is in one does not depend on where a run was stopped.
    """
    plan = {
        part: [list(batch) for batch in _cut(parts.images_of(part), batch_size)]
        for part in parts.missing()
    }
    loader: DataLoader[Sample] = DataLoader(
        _Images(images, folder, model.preprocessing),
        batch_sampler=[batch for batches in plan.values() for batch in batches],
        num_workers=num_workers,
        collate_fn=list,
        worker_init_fn=leave_signals_to_the_parent,
    )
    loaded = iter(loader)
    num_failed = 0
    for part, batches in plan.items():
        lines: list[str] = []
        failed: list[DataError] = []
        for samples in islice(loaded, len(batches)):
            failed += [found for _, found in samples if isinstance(found, DataError)]
            good = [(pixels, images[i]) for i, pixels in samples if isinstance(pixels, Tensor)]
            lines += map(_line, _detections(model, good, top_k))
            advance(len(samples))
        for error in failed:
            logger.warning("%s", error)
        num_failed += len(failed)
        if not failed:
            parts.write(part, lines)
    return num_failed


def _cut(places: range, size: int) -> Iterator[range]:
    """Consecutive places, `size` at a time."""
    return (places[start : start + size] for start in range(0, len(places), size))


def _detections(
    model: SOLQ, samples: Sequence[tuple[Tensor, CocoImage]], top_k: int
) -> Iterator[Detection]:
    if not samples:
        return
    with torch.inference_mode():
        found = find_instances(model, samples, top_k)
    for (_, image), instances in zip(samples, found, strict=True):
        kept, categories = known_categories(instances, model.categories)
        yield from coco_detections(image.id, kept, [category.id for category in categories])


def _line(detection: Detection) -> str:
    """The detection without a superfluous character.

    Numbers are those of the network, in float32, in the fewest digits that give them back: as
    doubles they would be most of a file that COCO's server has little memory for.
    """
    box = [_short(side) for side in detection["bbox"]]
    entry = detection | {"bbox": box, "score": _short(detection["score"])}
    return json.dumps(entry, separators=(",", ":"))


def _short(value: float) -> float:
    return float(str(np.float32(value)))
