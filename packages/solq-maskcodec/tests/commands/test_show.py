"""`solq-maskcodec show`."""

import json

import numpy as np
import pytest
from PIL import Image

from solq_maskcodec.cli import main
from solq_maskcodec.commands.show import read_mask


@pytest.fixture
def file(annotations, tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(annotations), encoding="utf-8")
    return path


@pytest.fixture
def mask(blobs):
    """An image's mask whose foreground has rows and columns of background around it."""
    mask = np.zeros((60, 90), bool)
    mask[5:45, 20:80] = blobs(1, 60)[0, :40]
    return mask


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_the_largest_object_is_shown_unless_one_is_named(file, tmp_path, capsys):
    output = tmp_path / "show.png"
    assert run("show", file, "--output", output) == 0
    assert capsys.readouterr().out == f"wrote annotation 2 of image 3: {output}\n"
    assert run("show", file, "--output", output, "--annotation", 0) == 0
    assert capsys.readouterr().out == f"wrote annotation 0 of image 8: {output}\n"
    with Image.open(output) as picture:
        assert picture.width == 1800


def test_several_lengths_make_one_picture(file, tmp_path):
    for ending in ("png", "svg", "pdf"):
        output = tmp_path / f"show.{ending}"
        arguments = ("--coefficients", "16..64", "--refine", 0, 5, "--mask-size", 64)
        assert run("show", file, "--output", output, *arguments) == 0
        assert output.stat().st_size > 1000


def test_an_image_of_a_mask_is_cropped_to_its_foreground(mask, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "solq_maskcodec.commands.show.mask_figure",
        lambda boxed, *_, **__: shown.append(boxed),
    )
    monkeypatch.setattr("solq_maskcodec.commands.show.save_figure", lambda *_: None)
    source = tmp_path / "mask.png"
    Image.fromarray(mask.astype(np.uint8) * 255).save(source)
    assert run("show", source, "--output", tmp_path / "show.png") == 0
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert shown[0].box_size == (height, width)
    assert shown[0].mask.shape == (128, 128)
    assert shown[0].mask.mean() == pytest.approx(mask.sum() / (height * width), abs=0.02)


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "P", "RGB", "LA", "RGBA"])
def test_anything_but_0_is_foreground(mask, tmp_path, mode):
    pixels = mask.astype(np.uint8)
    image = Image.fromarray(pixels)
    if mode == "1":
        image = Image.fromarray(mask)
    elif mode == "I;16":
        image = Image.fromarray(pixels.astype(np.uint16) * 1000)
    elif mode == "P":
        image = Image.frombytes("P", image.size, pixels.tobytes())
        image.putpalette([200, 200, 200, 0, 0, 0])  # the index counts, not its colour
    elif mode != "L":
        image = image.convert(mode)
    image.save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as saved:
        assert saved.mode == mode
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask)


def test_what_is_transparent_is_background(mask, tmp_path):
    pixels = np.full((*mask.shape, 4), 7, np.uint8)
    pixels[..., 3] = np.where(mask, 9, 0)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask)


def test_sources_that_are_no_masks_are_told(file, tmp_path, capsys):
    output = tmp_path / "show.png"
    broken, empty = tmp_path / "broken.png", tmp_path / "empty.png"
    Image.new("L", (20, 10)).save(empty)
    broken.write_bytes(empty.read_bytes()[:40])
    for arguments, message in (
        ((empty,), f"{empty}: must be a mask with foreground, got an empty one"),
        ((broken,), f"{broken}: must be an image of a mask, got one that cannot be read"),
        ((empty, "--annotation", 3), "--annotation must be left out for an image of a mask, got 3"),
        ((file, "--annotation", 9), "--annotation must be the id of an object with a box in its"),
        ((file, "--annotation", 5), "--annotation must be the id of an object with a box in its"),
        ((file, "--coefficients", 20_000), "num_coefficients must be at most mask_size ** 2"),
    ):
        assert run("show", *arguments, "--output", output) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not output.exists()


def test_a_file_without_objects_is_told(file, tmp_path, capsys):
    content = json.loads(file.read_text("utf-8")) | {"annotations": []}
    file.write_text(json.dumps(content), encoding="utf-8")
    assert run("show", file, "--output", tmp_path / "show.png") == 2
    assert "must have an object with a box in its image, got none" in capsys.readouterr().err
