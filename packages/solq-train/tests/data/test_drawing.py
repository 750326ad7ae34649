"""Pictures of ground truth, and many on one sheet."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from solq_train.data import CocoInstances, EvalTransform, load_image, read_coco
from solq_train.data.drawing import (
    Legend,
    contact_sheet,
    draw_ground_truth,
    draw_objects,
    draw_record,
)


def test_colours_go_by_ascending_id(small_set: Any) -> None:
    small_set.document["categories"].reverse()
    legend = Legend.of(read_coco(small_set.save()))
    assert legend.names == {3: "bar", 7: "square"}
    assert legend.colors == {3: 0, 7: 1}


def test_only_the_asked_objects_are_drawn(small_set: Any) -> None:
    coco = read_coco(small_set.annotations)
    image, legend = coco.images[0], Legend.of(coco)
    picture = load_image(small_set.images, image)
    bare = np.asarray(draw_ground_truth(picture, image, legend, only=()))
    one = np.asarray(draw_ground_truth(picture, image, legend, only={2}))
    every = np.asarray(draw_record(small_set.images, image, legend))
    scale = len(bare) // 30
    square = np.s_[5 * scale : 9 * scale, 4 * scale : 10 * scale]
    bar = np.s_[12 * scale : 14 * scale, 21 * scale : 29 * scale]
    assert (one[square] == bare[square]).all()
    assert (one[bar] != bare[bar]).any()
    assert (every[square] != bare[square]).any()


def test_a_transformed_picture_is_drawn_as_the_file_is(small_set: Any) -> None:
    data = CocoInstances(
        small_set.annotations, small_set.images, small_set.categories, EvalTransform(30)
    )
    legend = Legend.of(data.coco)
    expected = draw_ground_truth(
        load_image(small_set.images, data.coco.images[0]), data.coco.images[0], legend, only={1, 2}
    )
    found = draw_objects(*data.augmented(0), small_set.categories, legend)
    assert found.tobytes() == expected.tobytes()


def test_a_sheet_has_a_place_for_each_picture_and_keeps_its_shape() -> None:
    pictures = [Image.new("RGB", (400, 100), "red"), *[Image.new("RGB", (50, 90), "blue")] * 3]
    sheet = np.asarray(contact_sheet(pictures, ["a", "b", "c", "x" * 300]))
    red = (sheet == (255, 0, 0)).all(axis=2)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert (len(rows), len(columns)) == (90, 360)
    assert ((sheet == (0, 0, 255)).all(axis=2)).sum() == 3 * 50 * 90
