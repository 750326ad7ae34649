"""Configuration + data → samples, in batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from solq_maskcodec import MaskCodec
from solq_model import Categories
from solq_train.config import DataConfig, TrainConfig
from solq_train.criterion import encode_targets
from solq_train.data import (
    CocoInstances,
    EpochSampler,
    LargeScaleJitter,
    Split,
    Target,
    TrainTransform,
    collate,
)
from solq_train.distributed import Processes
from solq_train.stopping import leave_interrupts_to_the_parent

logger = logging.getLogger(__name__)

# Objects whose mask vectors give the means and deviations: enough for 256 of each.
STATISTICS_OBJECTS = 2000
# A coefficient that hardly varies in a small data set must not be blown up by whitening.
MIN_DEVIATION = 0.25


def make_dataset(config: TrainConfig, split: Split, categories: Categories) -> CocoInstances:
    """The samples of a split, transformed as the configuration says."""
    dataset = CocoInstances(
        split.annotations,
        split.images,
        categories,
        train_transform(config.data),
        seed=config.seed,
        mask_size=config.model.mask_size if config.model.has_vectors else None,
        image_masks=config.model.mask_head == "spatial",
        copy_paste=config.data.copy_paste,
        paste_from=config.data.image_ids,
    )
    if not len(dataset):
        msg = f"{split.annotations}: expected at least one image to train on, found none"
        raise ValueError(msg)
    return dataset


def chosen_samples(config: TrainConfig, dataset: CocoInstances) -> list[int]:
    """The indices of the samples that are trained on."""
    index_of = {image.id: index for index, image in enumerate(dataset.coco.images)}
    unknown = [image_id for image_id in config.data.image_ids if image_id not in index_of]
    if unknown:
        msg = f"data.image_ids: no image {unknown[0]} in {dataset.coco.path}"
        raise ValueError(msg)
    chosen = [index_of[image_id] for image_id in config.data.image_ids]
    return chosen or list(range(len(dataset)))


def train_transform(data: DataConfig) -> TrainTransform:
    """The training transform of a configuration."""
    jitter = None
    if data.jitter_size is not None:
        jitter = LargeScaleJitter(data.jitter_size, data.jitter_scale)
    return TrainTransform(
        short_sides=data.short_sides,
        max_size=data.max_size,
        horizontal_flip=data.horizontal_flip,
        vertical_flip=data.vertical_flip,
        transpose=data.transpose,
        crop=data.crop,
        crop_resize=data.crop_resize,
        crop_size=data.crop_size,
        jitter=jitter,
    )


def make_loader(
    config: TrainConfig, dataset: CocoInstances, processes: Processes
) -> tuple[EpochSampler, DataLoader[tuple[Tensor, Target]]]:
    """The batches of this process, and what puts them into the order of an epoch."""
    chosen = chosen_samples(config, dataset)
    batch_size = min(config.optimizer.batch_size, len(chosen))
    if batch_size < config.optimizer.batch_size:
        logger.warning(
            "batches hold %d images, all there are, instead of %d",
            batch_size,
            config.optimizer.batch_size,
        )
    sampler = EpochSampler(
        len(chosen),
        config.seed,
        batch_size=batch_size,
        rank=processes.rank,
        count=processes.count,
    )
    loader: DataLoader[Any] = DataLoader(
        Subset(dataset, chosen),
        batch_size=batch_size // processes.count,
        sampler=sampler,
        collate_fn=collate,
        drop_last=True,  # as published
        num_workers=config.data.num_workers,
        persistent_workers=config.data.num_workers > 0,
        worker_init_fn=leave_interrupts_to_the_parent,
    )
    return sampler, loader


def vector_statistics(
    dataset: CocoInstances, codec: MaskCodec, indices: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each coefficient over the masks of these samples, as trained on."""
    vectors = [torch.zeros(0, codec.num_coefficients)]
    for index in indices:
        _, target = dataset[index]
        encoded = encode_targets([target], codec).mask_vectors
        assert encoded is not None
        vectors.append(encoded)
        if sum(map(len, vectors)) >= STATISTICS_OBJECTS:
            break
    stacked = torch.cat(vectors)
    if len(stacked) < 2:
        msg = f"{dataset.coco.path}: whitened vectors need at least 2 objects, found {len(stacked)}"
        raise ValueError(msg)
    return stacked.mean(0), stacked.std(0).clamp(min=MIN_DEVIATION)
