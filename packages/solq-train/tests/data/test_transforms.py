"""Transforms: picture, boxes and masks stay together, and sizes are the published ones."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from solq_model.preprocess import resize_size
from solq_train.data.masks import InstanceMasks
from solq_train.data.records import Objects
from solq_train.data.transforms import (
    EvalTransform,
    LargeScaleJitter,
    TrainTransform,
    crop,
    flip_horizontally,
    flip_vertically,
    resize,
    transpose,
)

GOLDEN = json.loads((Path(__file__).parent / "fixtures" / "golden_data.json").read_text())


def sample(
    height: int = 90,
    width: int = 120,
    rectangles: tuple[tuple[int, ...], ...] = ((10, 20, 50, 60),),
) -> tuple[Image.Image, Objects]:
    """A black picture whose objects are white rectangles (x0, y0, x1, y1)."""
    masks = torch.zeros(len(rectangles), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, rectangles, strict=True):
        mask[y0:y1, x0:x1] = True
    white = masks.any(0).numpy().astype(np.uint8) * 255
    objects = Objects(
        image_id=1,
        image_size=(height, width),
        original_size=(height, width),
        boxes=torch.tensor(rectangles, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(len(rectangles)),
        masks=InstanceMasks.of_pixels(masks.numpy()),
    )
    return Image.fromarray(white).convert("RGB"), objects


def box_of(mask: torch.Tensor) -> list[int]:
    rows, columns = torch.nonzero(mask.any(1))[:, 0], torch.nonzero(mask.any(0))[:, 0]
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


class Scripted(random.Random):
    """Chance that follows a script: the next values of random(), choice() and randint()."""

    def __init__(self, *values: Any) -> None:
        super().__init__()
        self.values = list(values)

    def random(self) -> float:
        return float(self.values.pop(0))

    def choice(self, seq: Any) -> Any:
        value = self.values.pop(0)
        assert value in seq
        return value

    def randint(self, a: int, b: int) -> int:
        value = int(self.values.pop(0))
        assert a <= value <= b
        return value


@pytest.mark.parametrize("row", GOLDEN["resize_rule"]["rows"], ids=str)
def test_resize_rule_is_the_published_one(row: list[int]) -> None:
    width, height, short_side, max_size, out_height, out_width = row
    assert resize_size((height, width), short_side, max_size) == (out_height, out_width)


def test_resize_scales_boxes_and_takes_the_nearest_mask_pixels() -> None:
    picture, objects = resize(*sample(), (180, 360))
    assert picture.size == (360, 180)
    assert objects.image_size == (180, 360)
    assert objects.original_size == (90, 120)
    assert objects.boxes.tolist() == [[30, 40, 150, 120]]
    assert box_of(objects.masks.dense()[0]) == [30, 40, 150, 120]
    assert int(objects.masks.dense().sum()) == 120 * 80


def test_resize_to_the_same_size_changes_nothing() -> None:
    picture, objects = sample()
    assert resize(picture, objects, (90, 120)) == (picture, objects)


def test_resize_without_objects() -> None:
    _, objects = resize(*sample(rectangles=()), (45, 60))
    assert objects.masks.dense().shape == (0, 45, 60)
    assert objects.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("step", "box", "size"),
    [
        (flip_horizontally, [70, 20, 110, 60], (90, 120)),
        (flip_vertically, [10, 30, 50, 70], (90, 120)),
        (transpose, [20, 10, 60, 50], (120, 90)),
    ],
)
def test_mirrors_move_picture_box_and_mask_alike(
    step: Any, box: list[int], size: tuple[int, int]
) -> None:
    picture, objects = step(*sample())
    assert objects.boxes.tolist() == [box]
    assert box_of(objects.masks.dense()[0]) == box
    assert objects.image_size == size
    np.testing.assert_array_equal(np.asarray(picture)[..., 0] > 0, objects.masks.mask(0))


@pytest.mark.parametrize("step", [flip_horizontally, flip_vertically, transpose])
def test_mirrors_are_their_own_inverse(step: Any) -> None:
    picture, objects = sample()
    twice, again = step(*step(picture, objects))
    assert twice.tobytes() == picture.tobytes()
    assert torch.equal(again.boxes, objects.boxes)
    assert torch.equal(again.masks.dense(), objects.masks.dense())


def test_crop_cuts_boxes_and_drops_objects_outside() -> None:
    rectangles = ((10, 20, 50, 60), (60, 10, 70, 15), (100, 70, 120, 90))
    picture, objects = crop(*sample(rectangles=rectangles), 12, 40, 50, 40)
    assert picture.size == (40, 50)
    assert objects.image_size == (50, 40)
    assert objects.boxes.tolist() == [[0, 8, 10, 48], [20, 0, 30, 3]]
    assert objects.labels.tolist() == [0, 1]
    assert [box_of(mask) for mask in objects.masks.dense()] == [[0, 8, 10, 48], [20, 0, 30, 3]]


def test_crop_keeps_an_object_whose_box_alone_reaches_in() -> None:
    picture, objects = sample()
    pixels = objects.masks.dense().numpy()
    pixels[0, :, :45] = False  # the box now starts left of the mask
    objects = replace(objects, masks=InstanceMasks.of_pixels(pixels))
    _, cut = crop(picture, objects, 0, 0, 90, 40)
    assert len(cut.boxes) == 1
    assert not cut.masks.dense().any()


def test_crop_at_the_edge_of_a_box_drops_it() -> None:
    _, cut = crop(*sample(), 0, 50, 90, 70)
    assert len(cut.boxes) == len(cut.labels) == len(cut.masks) == 0
    assert cut.masks.dense().shape == (0, 90, 70)


def test_eval_transform_resizes() -> None:
    picture, objects = sample()
    resized, moved = EvalTransform(short_side=45, max_size=1000)(picture, objects, random.Random(0))
    assert resized.size == (60, 45)
    assert moved.boxes.tolist() == [[5, 10, 25, 30]]
    assert resized.getpixel((15, 20)) == (255, 255, 255)


def test_train_transform_without_chance_is_the_eval_transform() -> None:
    picture, objects = sample()
    train = TrainTransform(short_sides=(64,), horizontal_flip=0.0, crop=0.0)
    found, moved = train(picture, objects, random.Random(3))
    expected, expected_objects = EvalTransform(64)(picture, objects, random.Random(3))
    assert found.tobytes() == expected.tobytes()
    assert torch.equal(moved.boxes, expected_objects.boxes)
    assert torch.equal(moved.masks.dense(), expected_objects.masks.dense())


def test_train_transform_resizes_twice_as_published() -> None:
    picture, objects = sample()
    rng = Scripted(0.7, 0.7, 0.7, 60, 0.7, 100)
    found, moved = TrainTransform(short_sides=(60, 100))(picture, objects, rng)
    once = resize(picture, objects, (60, 80))
    twice, expected = resize(*once, (100, 133))
    assert found.tobytes() == twice.tobytes()
    assert torch.equal(moved.boxes, expected.boxes)
    assert torch.equal(moved.masks.dense(), expected.masks.dense())
    assert not rng.values


def test_train_transform_crops_between_two_resizes_as_published() -> None:
    picture, objects = sample()
    # flip; first short side; crop; its short side; height, width, top, left; last short side
    rng = Scripted(0.2, 0.7, 0.7, 180, 0.2, 120, 70, 100, 30, 10, 60)
    transform = TrainTransform(short_sides=(60, 180), crop_resize=(120,), crop_size=(64, 110))
    found, moved = transform(picture, objects, rng)
    step = resize(*flip_horizontally(picture, objects), (180, 240))
    step = crop(*resize(*step, (120, 160)), 30, 10, 70, 100)
    expected_picture, expected = resize(*step, (60, 85))
    assert found.tobytes() == expected_picture.tobytes()
    assert torch.equal(moved.boxes, expected.boxes)
    assert torch.equal(moved.masks.dense(), expected.masks.dense())
    assert not rng.values


@pytest.mark.parametrize("seed", range(20))
def test_train_transform_keeps_pixels_boxes_and_masks_together(seed: int) -> None:
    picture, objects = sample(300, 400, ((40, 60, 200, 160), (250, 150, 380, 290)))
    transform = TrainTransform(
        short_sides=(200, 320, 400), vertical_flip=0.5, transpose=0.5, crop_resize=(350,)
    )
    found, moved = transform(picture, objects, random.Random(seed))
    assert found.size[::-1] == moved.image_size == moved.masks.image_size
    drawn = torch.from_numpy(np.asarray(found)[..., 0] > 123)
    agreement = (drawn == moved.masks.dense().any(0)).float().mean()
    assert agreement > 0.98, f"seed {seed}"
    for mask, box in zip(moved.masks.dense(), moved.boxes, strict=True):
        distance = (torch.tensor(box_of(mask)) - box).abs().max()
        assert distance < 3, f"seed {seed}"  # two nearest-pixel resizes move a border that far


def test_train_transform_copes_with_images_smaller_than_the_crop() -> None:
    picture, objects = sample(3, 200, ((50, 0, 90, 3),))
    transform = TrainTransform(short_sides=(5,), crop=1.0, crop_resize=(4,), max_size=1000)
    for seed in range(20):
        found, moved = transform(picture, objects, random.Random(seed))
        assert moved.image_size[0] == 5
        assert found.size[::-1] == moved.image_size


def test_published_settings_are_the_default() -> None:
    transform = TrainTransform()
    assert transform.short_sides == tuple(range(480, 801, 32))
    assert (transform.max_size, transform.crop_resize) == (1333, (400, 500, 600))
    assert (transform.crop, transform.crop_size) == (0.5, (384, 600))
    assert transform.horizontal_flip == 0.5
    assert transform.vertical_flip == transform.transpose == 0.0
    assert (EvalTransform().short_side, EvalTransform().max_size) == (800, 1333)


def test_probabilities_are_kept_in_the_long_run() -> None:
    picture, objects = sample(20, 40, ((0, 0, 10, 5),))
    transform = TrainTransform(
        short_sides=(20,), horizontal_flip=0.25, vertical_flip=0.75, crop=0.0
    )
    results = [transform(picture, objects, random.Random(seed))[1] for seed in range(400)]
    shares = [
        sum(bool(result.boxes[0, axis] > 0) for result in results) / len(results) for axis in (0, 1)
    ]
    assert shares == pytest.approx([0.25, 0.75], abs=0.07)  # three standard deviations


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"short_sides": ()}, "short_sides must be .* got \\(\\)"),
        ({"max_size": 0}, "max_size must be at least 1, got 0"),
        ({"horizontal_flip": 1.5}, "horizontal_flip must be a probability .* got 1.5"),
        ({"crop": -0.1}, "crop must be a probability"),
        ({"crop_resize": (0,)}, "crop_resize must be .* at least 1 pixel"),
        ({"crop_size": (600, 384)}, "crop_size must be \\(smallest, largest\\)"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainTransform(**arguments)


@pytest.mark.parametrize(
    ("height", "width", "share", "expected"),
    [
        (90, 120, 0.5, (38, 50)),  # the long side has 50 of 100 pixels; smaller, so not cut
        (120, 90, 1.0, (100, 75)),
        (90, 120, 1.6, (100, 100)),  # 120 x 160, cut
        (90, 300, 2.0, (60, 100)),
        (1, 2000, 0.1, (1, 10)),
    ],
)
def test_jitter_scales_by_the_long_side_and_cuts_to_the_square(
    height: int, width: int, share: float, expected: tuple[int, int]
) -> None:
    jitter = LargeScaleJitter(100, (share, share))
    picture, objects = jitter(*sample(height, width, ()), random.Random(0))
    assert picture.size[::-1] == objects.image_size == objects.masks.image_size == expected


@pytest.mark.parametrize("seed", range(20))
def test_jitter_keeps_pixels_boxes_and_masks_together(seed: int) -> None:
    picture, objects = sample(150, 200, ((20, 30, 100, 80), (125, 75, 190, 145)))
    transform = TrainTransform(jitter=LargeScaleJitter(160, (0.5, 2.0)))
    found, moved = transform(picture, objects, random.Random(seed))
    assert max(moved.image_size) <= 160
    drawn = torch.from_numpy(np.asarray(found)[..., 0] > 123)
    assert (drawn == moved.masks.dense().any(0)).float().mean() > 0.97, f"seed {seed}"
    for mask, box in zip(moved.masks.dense(), moved.boxes, strict=True):
        assert (torch.tensor(box_of(mask)) - box).abs().max() < 2, f"seed {seed}"


def test_jitter_takes_any_part_of_a_larger_image() -> None:
    picture, objects = sample(50, 100, ((0, 0, 20, 50), (80, 0, 100, 50)))
    jitter = LargeScaleJitter(50, (2.0, 2.0))
    labels = [
        jitter(picture, objects, random.Random(seed))[1].labels.tolist() for seed in range(40)
    ]
    assert all(sorted(kept) in labels for kept in ([0], [1], []))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0,), "jitter_size must be at least 1, got 0"),
        ((100, (0.0, 1.0)), "jitter_scale must be .* above 0, got \\(0.0, 1.0\\)"),
        ((100, (2.0, 1.0)), "jitter_scale must be \\(smallest, largest\\)"),
        ((100, (0.5, float("inf"))), "jitter_scale must be"),
    ],
)
def test_bad_arguments_of_jitter_are_named(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LargeScaleJitter(*arguments)
