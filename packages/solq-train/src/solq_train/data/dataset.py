"""Record → sample: the images of an annotation file with the objects a network can learn from."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from solq_model.categories import Categories
from solq_model.images import to_tensor
from solq_train.data.coco import (
    CocoAnnotation,
    CocoFile,
    CocoImage,
    read_coco,
)
from solq_train.data.copy_paste import paste_objects
from solq_train.data.defects import DataError
from solq_train.data.images import load_image, path_fault
from solq_train.data.index import CocoImages, indexed
from solq_train.data.masks import InstanceMasks
from solq_train.data.records import Objects, Target
from solq_train.data.transforms import Transform

logger = logging.getLogger(__name__)


class CocoInstances(Dataset[tuple[Tensor, Target]]):
    """Samples (pixels, target), one for each image of the file, in its order.

    Targets leave out crowds and objects whose box has no area inside the image, as published;
    images without objects stay. `coco` keeps everything, for the evaluation.
    Masks are decoded as far as a network needs them: `mask_size` gives them in that many pixels of
    each box, `image_masks` in the whole image. With the probability `copy_paste` a sample gets
    objects of another image, any one or one of the ids `paste_from`, which is transformed alike.
    What a sample looks like depends on seed, epoch and image id only, not on the order of the
    samples or on the worker that makes them.
    """

    def __init__(
        self,
        annotations: Path,
        images: Path,
        categories: Categories,
        transform: Transform,
        seed: int = 0,
        *,
        mask_size: int | None = None,
        image_masks: bool = False,
        copy_paste: float = 0.0,
        paste_from: Collection[int] = (),
    ) -> None:
        if not 0 <= copy_paste <= 1:
            msg = f"copy_paste must be a probability in [0, 1], got {copy_paste}"
            raise ValueError(msg)
        self.coco = read_coco(annotations)
        self.images = images
        self.categories = categories
        _check_categories(self.coco, categories)
        check_files(self.coco.images, images)
        self._records = _learnable(self.coco)
        self._transform = transform
        self._seed = seed
        self._mask_size = mask_size
        self._image_masks = image_masks
        self._copy_paste = copy_paste
        self._sources: Sequence[int] = range(len(self._records))
        if copy_paste and paste_from:
            ids = (record.id for record in self._records)
            self._sources = [index for index, image_id in enumerate(ids) if image_id in paste_from]
        if copy_paste and not self._sources:
            msg = f"paste_from must hold ids of images of {annotations}, got none that is"
            raise ValueError(msg)
        # In shared memory, so that workers which outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "3 height width"], Target]:
        picture, objects = self.augmented(index)
        return to_tensor(picture), objects.target(self._mask_size, image_masks=self._image_masks)

    def augmented(self, index: int) -> tuple[Image.Image, Objects]:
        """The picture of a sample and its objects, with no mask decoded yet."""
        record = self._records[index]
        rng = sample_rng(self._seed, int(self._epoch), record.id)
        picture, objects = self._transformed(record, rng)
        if self._copy_paste and rng.random() < self._copy_paste:
            source = self._records[rng.choice(self._sources)]
            return paste_objects(picture, objects, *self._transformed(source, rng), rng)
        return picture, objects

    def set_epoch(self, epoch: int) -> None:
        """Renews the chance in the transforms; call it before the loader's iteration starts."""
        self._epoch.fill_(epoch)

    def _transformed(self, record: CocoImage, rng: random.Random) -> tuple[Image.Image, Objects]:
        return self._transform(load_image(self.images, record), self._objects(record), rng)

    def _objects(self, record: CocoImage) -> Objects:
        image_size = (record.height, record.width)
        annotations = tuple(record.annotations)  # each access makes a record anew
        slots = [self.categories.slot_of(item.category_id) for item in annotations]
        return Objects(
            image_id=record.id,
            image_size=image_size,
            original_size=image_size,
            boxes=clipped_boxes(annotations, image_size),
            labels=torch.tensor(slots, dtype=torch.int64),
            masks=InstanceMasks.of(
                [item.id for item in annotations],
                [item.segmentation for item in annotations],
                image_size,
                where=f"{self.coco.path}: image id {record.id}: ",
            ),
        )


class EpochSampler(Sampler[int]):
    """The indices of a data set in an order that depends on seed and epoch only.

    Of several processes (`rank` of `count`) each gets its consecutive part of every batch of
    `batch_size` samples, and no part of an incomplete last one.
    """

    def __init__(
        self, num_samples: int, seed: int, *, batch_size: int = 1, rank: int = 0, count: int = 1
    ) -> None:
        if num_samples < 1:
            msg = f"num_samples must be at least 1, got {num_samples}"
            raise ValueError(msg)
        if batch_size % count:
            msg = f"batch_size must be a multiple of the {count} processes, got {batch_size}"
            raise ValueError(msg)
        self._num_samples = num_samples
        self._seed = seed
        self._batch_size = batch_size
        self._rank, self._count = rank, count
        self._epoch = 0
        self._start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Renews the order, whose first `start` are left out; call it before the iteration."""
        self._epoch, self._start = epoch, start

    def __len__(self) -> int:
        return self._num_samples // self._batch_size * (self._batch_size // self._count)

    def __iter__(self) -> Iterator[int]:
        order = list(range(self._num_samples))
        random.Random(f"order {self._seed} {self._epoch}").shuffle(order)
        own = self._batch_size // self._count
        end = self._num_samples // self._batch_size * self._batch_size
        for begin in range(self._start + self._rank * own, end, self._batch_size):
            yield from order[begin : begin + own]


def sample_rng(seed: int, epoch: int, image_id: int) -> random.Random:
    """The source of chance for one sample, the same in every process (Random hashes by SHA-512)."""
    return random.Random(f"sample {seed} {epoch} {image_id}")


def clipped_boxes(
    annotations: Sequence[CocoAnnotation], image_size: tuple[int, int]
) -> Float32[Tensor, "instances 4"]:
    """Boxes as xyxy, cut off at the image's border."""
    height, width = image_size
    xywh = torch.tensor([annotation.bbox_xywh for annotation in annotations], dtype=torch.float32)
    return _clipped(xywh.reshape(-1, 4), torch.tensor([width, height, width, height]))


def _clipped(
    xywh: Float32[Tensor, "instances 4"], limits: Int64[Tensor, "... 4"]
) -> Float32[Tensor, "instances 4"]:
    """Boxes as xyxy between 0 and the limits of each side."""
    xyxy = torch.cat([xywh[:, :2], xywh[:, 2:] + xywh[:, :2]], dim=1)
    return xyxy.clamp(min=torch.zeros(4), max=limits)


def has_area(boxes_xyxy: Float32[Tensor, "instances 4"]) -> Bool[Tensor, " instances"]:
    """Whether each box is wider and higher than nothing."""
    return (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(dim=1)


def _learnable(coco: CocoFile) -> CocoImages:
    """The records without crowds and without objects whose box has no area in the image."""
    images = indexed(coco.images)
    index = images.columns
    sizes = np.stack([index.widths, index.heights] * 2, axis=1)
    limits = np.repeat(sizes, np.diff(index.first), axis=0)  # of each annotation
    boxes = _clipped(torch.from_numpy(index.boxes_xywh).float(), torch.from_numpy(limits))
    usable = has_area(boxes).numpy()
    left_out = index.annotation_ids[~usable & ~index.crowds].tolist()
    if left_out:
        ids = ", ".join(map(str, left_out[:5])) + (", …" if len(left_out) > 5 else "")
        message = "%s: %d objects are left out: no area of their box is in the image (ids %s)"
        logger.warning(message, coco.path, len(left_out), ids)
    return images.keep(usable & ~index.crowds)


def _check_categories(coco: CocoFile, categories: Categories) -> None:
    known = {entry.id for entry in categories.entries}
    for category in coco.categories:
        if category["id"] not in known:
            msg = (
                f"{coco.path}: category id {category['id']} ('{category['name']}') must be one of "
                f"the model's {len(known)} categories, got none with this id"
            )
            raise DataError(msg)


def check_files(images: Sequence[CocoImage], folder: Path) -> None:
    """A missing image stops a run before it starts, not after hours; broken ones show in use."""
    if not folder.is_dir():
        msg = f"{folder}: must be the folder of the images, got no folder"
        raise DataError(msg)
    for image in images:
        fault = path_fault(folder, image.file_name)
        if fault is not None:
            msg = f"{folder / image.file_name}: {fault[1]} (image id {image.id})"
            raise DataError(msg)
