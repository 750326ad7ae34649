"""Samples and batches as a configuration says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from solq_maskcodec import DCTMaskCodec
from solq_model import Categories
from solq_train.criterion import encode_targets
from solq_train.data import CocoInstances, find_split, read_coco
from solq_train.loading import MIN_DEVIATION, train_transform, vector_statistics
from solq_train.run import prepare_run


@pytest.fixture
def split(shapes):
    return find_split(shapes, "train")


def test_jitter_and_pasting_are_those_of_the_configuration(small_config, split):
    data = replace(
        small_config.data, jitter_size=64, jitter_scale=(0.5, 1.0), copy_paste=1.0, image_ids=(1, 2)
    )
    jitter = train_transform(data).jitter
    assert (jitter.size, jitter.scale) == (64, (0.5, 1.0))
    assert train_transform(small_config.data).jitter is None
    pasted = prepare_run(replace(small_config, data=data), split)
    plain = prepare_run(replace(small_config, data=replace(data, copy_paste=0.0)), split)
    counts = [
        [len(t.labels) for batch in run.loader for t in batch.targets] for run in (pasted, plain)
    ]
    assert sum(counts[0]) > sum(counts[1])


def test_vector_statistics_are_those_of_the_training_masks(small_config, split):
    codec = DCTMaskCodec(num_coefficients=16, mask_size=32)
    categories = Categories.contiguous(read_coco(split.annotations).categories)
    transform = train_transform(small_config.data)
    dataset = CocoInstances(
        split.annotations, split.images, categories, transform, mask_size=codec.mask_size
    )
    vectors = encode_targets([dataset[i][1] for i in range(8)], codec).mask_vectors
    mean, deviation = vector_statistics(dataset, codec, range(8))
    torch.testing.assert_close(mean, vectors.mean(0))
    torch.testing.assert_close(deviation, vectors.std(0).clamp(min=MIN_DEVIATION))
    fewer, _ = vector_statistics(dataset, codec, range(4))
    assert not torch.equal(fewer, mean)
