"""The codec's ceiling of a data set, before training."""

from __future__ import annotations

from typing import Any

from solq_train.data import read_coco
from solq_train.data.quality import codec_quality


def test_sizes_without_objects_have_dashes(small_set: Any) -> None:
    quality = codec_quality(read_coco(small_set.annotations), 256, most_objects=10)
    assert quality is not None
    rows = {row[0]: row[1:] for row in quality.table()}
    assert rows["small"][0] == rows["all"][0] == "2"
    assert rows["large"] == ["0", "-", "-", "-", "-"]
    assert 0.9 < float(rows["small"][1]) <= 1


def test_nothing_asked_or_nothing_to_encode_gives_none(small_set: Any) -> None:
    assert codec_quality(read_coco(small_set.annotations), 256, most_objects=0) is None
    small_set.document["annotations"] = []
    assert codec_quality(read_coco(small_set.save()), 256, most_objects=10) is None


def test_about_so_many_objects_are_measured(shapes: Any) -> None:
    coco = read_coco(shapes / "annotations" / "instances_train.json")
    every = codec_quality(coco, 64, most_objects=10**6)
    some = codec_quality(coco, 64, most_objects=5)
    assert every is not None
    assert some is not None
    assert 1 <= some.sizes.all.num_objects < every.sizes.all.num_objects
    assert some.num_images < every.num_images
