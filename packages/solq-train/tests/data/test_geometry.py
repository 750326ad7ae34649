"""Extents and areas of segmentations, against masks that are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from solq_train.data import annotation_mask, read_coco
from solq_train.data.geometry import measure


def test_polygons_have_the_area_of_the_shoelace_formula(small_set: Any) -> None:
    parts = [[0, 0, 4, 0, 0, 3], [10, 10, 12, 10, 12, 15.5, 10, 15.5]]
    small_set.document["annotations"][0]["segmentation"] = parts
    geometry = measure(read_coco(small_set.save()))
    assert geometry.areas[0] == 6 + 11
    assert geometry.extents[0].tolist() == [0, 0, 12, 15.5]
    assert geometry.boxes[0].tolist() == [2, 3, 12, 11]
    assert not geometry.has_flat_polygon.any()


def test_run_lengths_have_the_area_and_the_box_of_their_pixels(small_set: Any) -> None:
    coco = read_coco(small_set.annotations)
    geometry = measure(coco)
    assert geometry.is_crowd.tolist() == [False, False, True]
    for index in (1, 2):
        mask = annotation_mask(geometry.items[index], (30, 40))
        rows, columns = np.nonzero(mask)
        assert geometry.areas[index] == mask.sum()
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert geometry.extents[index].tolist() == box


def test_a_part_on_a_line_is_flat(small_set: Any) -> None:
    segmentation = [[1, 1, 5, 1, 5, 5], [1.1, 1.1, 2.2, 2.2, 3.3, 3.3]]
    small_set.document["annotations"][0]["segmentation"] = segmentation
    assert measure(read_coco(small_set.save())).has_flat_polygon.tolist() == [True, False, False]


def test_broken_run_lengths_have_no_numbers_but_a_reason(small_set: Any) -> None:
    broken = {"size": [30, 40], "counts": "05"}
    small_set.document["annotations"][0]["segmentation"] = broken
    geometry = measure(read_coco(small_set.save()))
    assert list(geometry.broken) == [0]
    assert np.isnan(geometry.areas[0])


def test_areas_of_real_objects_are_those_of_the_file(shared_data: Path) -> None:
    file = shared_data / "coco_mini_cc/annotations/instances_val2017.json"
    geometry = measure(read_coco(file))
    areas = np.array([item.area for item in geometry.items])
    objects = ~geometry.is_crowd
    assert np.allclose(geometry.areas[objects], areas[objects], rtol=1e-9)
