"""Preprocessing: the published size rule, and normalised pixels."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as vision

from solq_model.images import to_tensor
from solq_model.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, normalize, resize_size


def noise_picture(height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("image_size", "short_side", "max_size", "expected"),
    [
        ((480, 640), 800, 1333, (800, 1066)),  # 1066.67, truncated
        ((640, 480), 800, 1333, (1066, 800)),
        ((500, 500), 800, 1333, (800, 800)),
        ((300, 640), 800, 1333, (625, 1333)),  # the long side binds: 624.8, rounded
        ((640, 300), 800, 1333, (1333, 625)),
        ((100, 1000), 800, 1333, (133, 1330)),
        ((800, 1200), 800, 1333, (800, 1200)),  # already there
        ((1, 1), 800, 1333, (800, 800)),
        ((1, 5000), 800, 1333, (1, 5000)),  # published: 0 pixels high
        ((480, 640), 800, None, (800, 1066)),
        ((300, 640), 800, None, (800, 1706)),
    ],
)
def test_sizes_follow_the_published_rule(image_size, short_side, max_size, expected):
    assert resize_size(image_size, short_side, max_size) == expected


@pytest.mark.parametrize("seed", range(20))
def test_both_sides_stay_within_their_bounds(seed):
    rng = np.random.default_rng(seed)
    image_size = tuple(int(side) for side in rng.integers(20, 2000, 2))
    height, width = resize_size(image_size, 400, 700)
    assert min(height, width) <= 400
    # The rule scales by the rounded short side, which may lengthen the long side a little.
    assert max(height, width) <= 700 + max(image_size) / min(image_size)
    assert math.isclose(height / width, image_size[0] / image_size[1], rel_tol=0.06)


def test_normal_pixels_have_imagenets_mean_and_deviation():
    picture = Image.new("RGB", (2, 1), (0, 255, 51))
    expected = torch.tensor([0.0, 1.0, 0.2]) - torch.tensor(IMAGENET_MEAN)
    expected = (expected / torch.tensor(IMAGENET_STD))[:, None, None].expand(3, 1, 2)
    torch.testing.assert_close(normalize(to_tensor(picture)), expected)


def test_an_image_is_resized_then_normalised():
    picture = noise_picture(30, 40)
    tensor = Preprocessing(short_side=60, max_size=100)(picture)
    assert tensor.shape == (3, 60, 80)
    assert tensor.dtype == torch.float32
    resized = picture.resize((80, 60), Image.Resampling.BILINEAR)
    assert torch.equal(tensor, normalize(to_tensor(resized)))


def test_an_image_of_the_right_size_keeps_its_pixels():
    picture = noise_picture(32, 48)
    assert torch.equal(
        Preprocessing(short_side=32, max_size=100)(picture), normalize(to_tensor(picture))
    )


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_pictures_of_any_mode_become_rgb(mode):
    picture = noise_picture(8, 8).convert(mode)
    tensor = Preprocessing(short_side=8, max_size=8)(picture)
    assert torch.equal(tensor, normalize(to_tensor(picture.convert("RGB"))))


@pytest.mark.parametrize(
    "sides", [{"short_side": 0}, {"short_side": -1}, {"short_side": 100, "max_size": 99}]
)
def test_sides_that_make_no_image_are_refused(sides):
    with pytest.raises(ValueError, match="preprocessing needs 1 <= short_side <= max_size, got"):
        Preprocessing(**sides)


def test_json_and_back_is_the_same():
    preprocessing = Preprocessing(short_side=128, max_size=256)
    assert Preprocessing(**preprocessing.to_json()) == preprocessing


def test_pixels_are_those_of_torchvisions_transforms_bit_for_bit():
    picture = noise_picture(37, 53)
    found = Preprocessing(short_side=61, max_size=100)(picture)
    resized = vision.resize(picture, [61, 87])
    expected = vision.to_dtype(vision.pil_to_tensor(resized), scale=True)
    assert torch.equal(found, vision.normalize(expected, IMAGENET_MEAN, IMAGENET_STD))
