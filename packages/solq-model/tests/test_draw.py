"""Pictures of instances: what is painted, where, and what stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from solq_model.draw import (
    COMFORTABLE_SIDE,
    PALETTE,
    draw_instances,
    outline,
    picture_format,
    save_picture,
)

GREY = 100


def grey_image(height: int = 60, width: int = 80) -> torch.Tensor:
    return torch.full((3, height, width), GREY, dtype=torch.uint8)


def square(image: torch.Tensor, x0: int, y0: int, x1: int, y1: int) -> torch.Tensor:
    """One mask, and one box around it."""
    mask = torch.zeros(1, *image.shape[1:], dtype=torch.bool)
    mask[:, y0:y1, x0:x1] = True
    return mask


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def test_the_inside_of_a_mask_is_the_blend_of_image_and_colour():
    image = grey_image()
    mask = square(image, 30, 20, 60, 50)
    picture = draw_instances(
        image, mask, torch.tensor([[30.0, 20, 60, 50]]), [""], colors=[2], alpha=0.25, scale=1
    )

    expected = [round(0.75 * GREY + 0.25 * c) for c in PALETTE[2]]
    assert np.abs(pixels(picture)[35, 45] - expected).max() <= 1


def test_the_outline_has_the_full_colour_and_lies_inside_the_mask():
    image = grey_image()
    mask = square(image, 30, 20, 60, 50)
    picture = pixels(draw_instances(image, mask, torch.zeros(1, 4), [""], alpha=0.5, scale=1))

    assert tuple(picture[35, 30]) == PALETTE[0]
    assert tuple(picture[35, 29]) == (GREY, GREY, GREY)


def test_pixels_away_from_masks_boxes_and_labels_stay():
    image = grey_image(200, 200)
    mask = square(image, 90, 90, 120, 120)
    picture = pixels(
        draw_instances(image, mask, torch.tensor([[90.0, 90, 120, 120]]), ["cup 0.93"], scale=1)
    )

    assert (picture[140:] == GREY).all()
    assert (picture[:60] == GREY).all()
    assert (picture[:, :80] == GREY).all()
    assert (picture[70:90, 90:130] != GREY).any(), "the label lies above its box"


def test_a_small_object_stays_visible_under_a_large_one_drawn_after_it():
    image = grey_image()
    masks = torch.cat([square(image, 30, 20, 40, 30), square(image, 10, 10, 70, 50)])
    picture = draw_instances(image, masks, torch.zeros(2, 4), ["", ""], alpha=1.0, scale=1)

    assert tuple(pixels(picture)[25, 35]) == PALETTE[0]


def test_tensors_and_pil_images_give_the_same_picture():
    image = torch.randint(0, 256, (3, 60, 80), dtype=torch.uint8, generator=torch.manual_seed(0))
    pil = Image.fromarray(image.permute(1, 2, 0).numpy())
    mask, box = square(image, 30, 20, 60, 50), torch.tensor([[30.0, 20, 60, 50]])

    assert draw_instances(image, mask, box, ["a"]) == draw_instances(pil, mask, box, ["a"])


def test_small_images_grow_by_a_whole_factor_and_large_ones_keep_their_size():
    nothing = torch.zeros(0, 4)

    small = draw_instances(grey_image(128, 96), torch.zeros(0, 128, 96).bool(), nothing, [])
    large = draw_instances(grey_image(480, 640), torch.zeros(0, 480, 640).bool(), nothing, [])
    asked = draw_instances(grey_image(), torch.zeros(0, 60, 80).bool(), nothing, [], scale=3)

    assert small.size == (96 * 4, 128 * 4)
    assert max(small.size) == COMFORTABLE_SIDE
    assert large.size == (640, 480)
    assert asked.size == (240, 180)


def test_enlarged_masks_keep_their_place():
    image = grey_image()
    mask = square(image, 30, 20, 60, 50)
    box = torch.tensor([[30.0, 20, 60, 50]])
    picture = pixels(draw_instances(image, mask, box, [""], alpha=1.0, scale=4))

    painted = (picture == PALETTE[0]).all(axis=2)
    assert painted[80:200, 120:240].mean() > 0.99
    assert painted[:76].sum() == painted[204:].sum() == painted[:, 244:].sum() == 0


@pytest.mark.parametrize(
    "box",
    [(-50, -50, 200, 200), (70, 50, 90, 90), (300, 300, 400, 400), (10, 10, 10, 10)],
    ids=["around", "across the corner", "outside", "empty"],
)
def test_any_box_can_be_drawn(box):
    image = grey_image()
    mask = torch.zeros(1, 60, 80, dtype=torch.bool)
    picture = draw_instances(image, mask, torch.tensor([box]).float(), ["a long label 0.99"])

    assert picture.size == (480, 360)


def test_colours_repeat_after_the_palette_ends():
    image = grey_image()
    mask, box = square(image, 30, 20, 60, 50), torch.tensor([[30.0, 20, 60, 50]])

    first = draw_instances(image, mask, box, ["a"], colors=[1])
    again = draw_instances(image, mask, box, ["a"], colors=[1 + len(PALETTE)])

    assert first == again


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image": torch.zeros(3, 60, 80)}, r"image must be uint8 \[3, height, width\], got torch"),
        ({"masks": torch.zeros(1, 60, 81).bool()}, r"masks must have the shape \(1, 60, 80\), got"),
        ({"boxes": torch.zeros(2, 4)}, r"boxes must have the shape \(1, 4\), got \(2, 4\)"),
        ({"colors": [1, 2]}, r"colors must number 1 instances, got 2"),
        ({"alpha": 1.5}, r"alpha must be between 0 and 1, got 1.5"),
        ({"scale": 0}, r"scale must be at least 1, got 0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(changed, message):
    arguments = {
        "image": grey_image(),
        "masks": torch.zeros(1, 60, 80).bool(),
        "boxes": torch.zeros(1, 4),
        "labels": ["a"],
    }

    with pytest.raises(ValueError, match=message):
        draw_instances(**(arguments | changed))


def test_a_picture_is_written_in_the_format_of_its_ending(tmp_path):
    picture = Image.new("RGB", (4, 3), (GREY, 0, 0))
    save_picture(picture, tmp_path / "out.PNG")
    with Image.open(tmp_path / "out.PNG") as written:
        assert (written.format, written.size) == ("PNG", (4, 3))
    with pytest.raises(ValueError, match="ending must be that of an image format"):
        picture_format(tmp_path / "out.txt")


def test_an_outline_is_the_border_inside_of_the_mask():
    mask = torch.zeros(7, 7, dtype=torch.bool)
    mask[1:6, 1:6] = True
    edge = outline(mask, 1)
    assert edge.sum() == 16
    assert not edge[2:5, 2:5].any()
