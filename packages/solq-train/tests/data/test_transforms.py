"""Transforms: picture, boxes and masks stay together, and sizes are the published ones."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as vision

from solq_model.preprocess import resize_size
from solq_train.data.records import Target
from solq_train.data.transforms import (
    EvalTransform,
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
) -> tuple[Image.Image, Target]:
    """A black picture whose objects are white rectangles (x0, y0, x1, y1)."""
    masks = torch.zeros(len(rectangles), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, rectangles, strict=True):
        mask[y0:y1, x0:x1] = True
    white = masks.any(0).numpy().astype(np.uint8) * 255
    target = Target(
        image_id=1,
        image_size=(height, width),
        original_size=(height, width),
        boxes=torch.tensor(rectangles, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(len(rectangles)),
        masks=masks,
    )
    return Image.fromarray(white).convert("RGB"), target


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
    picture, target = resize(*sample(), (180, 360))
    assert picture.size == (360, 180)
    assert target.image_size == (180, 360)
    assert target.original_size == (90, 120)
    assert target.boxes.tolist() == [[30, 40, 150, 120]]
    assert box_of(target.masks[0]) == [30, 40, 150, 120]
    assert int(target.masks.sum()) == 120 * 80


def test_resize_to_the_same_size_changes_nothing() -> None:
    picture, target = sample()
    assert resize(picture, target, (90, 120)) == (picture, target)


def test_resize_without_objects() -> None:
    _, target = resize(*sample(rectangles=()), (45, 60))
    assert target.masks.shape == (0, 45, 60)
    assert target.boxes.shape == (0, 4)


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
    picture, target = step(*sample())
    assert target.boxes.tolist() == [box]
    assert box_of(target.masks[0]) == box
    assert target.image_size == size
    np.testing.assert_array_equal(np.asarray(picture)[..., 0] > 0, target.masks[0].numpy())


@pytest.mark.parametrize("step", [flip_horizontally, flip_vertically, transpose])
def test_mirrors_are_their_own_inverse(step: Any) -> None:
    picture, target = sample()
    twice, again = step(*step(picture, target))
    assert twice.tobytes() == picture.tobytes()
    assert torch.equal(again.boxes, target.boxes)
    assert torch.equal(again.masks, target.masks)


def test_crop_cuts_boxes_and_drops_objects_outside() -> None:
    rectangles = ((10, 20, 50, 60), (60, 10, 70, 15), (100, 70, 120, 90))
    picture, target = crop(*sample(rectangles=rectangles), 12, 40, 50, 40)
    assert picture.size == (40, 50)
    assert target.image_size == (50, 40)
    assert target.boxes.tolist() == [[0, 8, 10, 48], [20, 0, 30, 3]]
    assert target.labels.tolist() == [0, 1]
    assert [box_of(mask) for mask in target.masks] == [[0, 8, 10, 48], [20, 0, 30, 3]]


def test_crop_keeps_an_object_whose_box_alone_reaches_in() -> None:
    picture, target = sample()
    target.masks[0, :, :45] = False  # the box now starts left of the mask
    _, cut = crop(picture, target, 0, 0, 90, 40)
    assert len(cut.boxes) == 1
    assert not cut.masks.any()


def test_crop_at_the_edge_of_a_box_drops_it() -> None:
    _, cut = crop(*sample(), 0, 50, 90, 70)
    assert len(cut.boxes) == len(cut.labels) == len(cut.masks) == 0
    assert cut.masks.shape == (0, 90, 70)


def test_eval_transform_resizes_and_keeps_bytes() -> None:
    picture, target = sample()
    image, moved = EvalTransform(short_side=45, max_size=1000)(picture, target, random.Random(0))
    assert image.shape == (3, 45, 60)
    assert image.dtype == torch.uint8
    assert moved.boxes.tolist() == [[5, 10, 25, 30]]
    assert image[:, 20, 15].tolist() == [255, 255, 255]


def test_train_transform_without_chance_is_the_eval_transform() -> None:
    picture, target = sample()
    train = TrainTransform(short_sides=(64,), horizontal_flip=0.0, crop=0.0)
    image, moved = train(picture, target, random.Random(3))
    expected, expected_target = EvalTransform(64)(picture, target, random.Random(3))
    assert torch.equal(image, expected)
    assert torch.equal(moved.boxes, expected_target.boxes)
    assert torch.equal(moved.masks, expected_target.masks)


def test_train_transform_resizes_twice_as_published() -> None:
    picture, target = sample()
    rng = Scripted(0.7, 0.7, 0.7, 60, 0.7, 100)
    image, moved = TrainTransform(short_sides=(60, 100))(picture, target, rng)
    once = resize(picture, target, (60, 80))
    twice, expected = resize(*once, (100, 133))
    assert torch.equal(image, vision.pil_to_tensor(twice))
    assert torch.equal(moved.boxes, expected.boxes)
    assert torch.equal(moved.masks, expected.masks)
    assert not rng.values


def test_train_transform_crops_between_two_resizes_as_published() -> None:
    picture, target = sample()
    # flip; first short side; crop; its short side; height, width, top, left; last short side
    rng = Scripted(0.2, 0.7, 0.7, 180, 0.2, 120, 70, 100, 30, 10, 60)
    transform = TrainTransform(short_sides=(60, 180), crop_resize=(120,), crop_size=(64, 110))
    image, moved = transform(picture, target, rng)
    step = resize(*flip_horizontally(picture, target), (180, 240))
    step = crop(*resize(*step, (120, 160)), 30, 10, 70, 100)
    expected_picture, expected = resize(*step, (60, 85))
    assert torch.equal(image, vision.pil_to_tensor(expected_picture))
    assert torch.equal(moved.boxes, expected.boxes)
    assert torch.equal(moved.masks, expected.masks)
    assert not rng.values


@pytest.mark.parametrize("seed", range(20))
def test_train_transform_keeps_pixels_boxes_and_masks_together(seed: int) -> None:
    picture, target = sample(300, 400, ((40, 60, 200, 160), (250, 150, 380, 290)))
    transform = TrainTransform(
        short_sides=(200, 320, 400), vertical_flip=0.5, transpose=0.5, crop_resize=(350,)
    )
    image, moved = transform(picture, target, random.Random(seed))
    assert tuple(image.shape[-2:]) == moved.image_size == tuple(moved.masks.shape[-2:])
    drawn = image[0] > 123
    agreement = (drawn == moved.masks.any(0)).float().mean()
    assert agreement > 0.98, f"seed {seed}"
    for mask, box in zip(moved.masks, moved.boxes, strict=True):
        distance = (torch.tensor(box_of(mask)) - box).abs().max()
        assert distance < 3, f"seed {seed}"  # two nearest-pixel resizes move a border that far


def test_train_transform_copes_with_images_smaller_than_the_crop() -> None:
    picture, target = sample(3, 200, ((50, 0, 90, 3),))
    transform = TrainTransform(short_sides=(5,), crop=1.0, crop_resize=(4,), max_size=1000)
    for seed in range(20):
        image, moved = transform(picture, target, random.Random(seed))
        assert moved.image_size[0] == 5
        assert tuple(image.shape[-2:]) == moved.image_size


def test_published_settings_are_the_default() -> None:
    transform = TrainTransform()
    assert transform.short_sides == tuple(range(480, 801, 32))
    assert (transform.max_size, transform.crop_resize) == (1333, (400, 500, 600))
    assert (transform.crop, transform.crop_size) == (0.5, (384, 600))
    assert transform.horizontal_flip == 0.5
    assert transform.vertical_flip == transform.transpose == 0.0
    assert (EvalTransform().short_side, EvalTransform().max_size) == (800, 1333)


def test_probabilities_are_kept_in_the_long_run() -> None:
    picture, target = sample(20, 40, ((0, 0, 10, 5),))
    transform = TrainTransform(
        short_sides=(20,), horizontal_flip=0.25, vertical_flip=0.75, crop=0.0
    )
    results = [transform(picture, target, random.Random(seed))[1] for seed in range(400)]
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
