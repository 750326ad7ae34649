"""`solq explain`: the picture, the numbers, and what it says to what it cannot explain."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image


@pytest.fixture
def explain(solq, trained, shapes, tmp_path):
    def run(*arguments, image=shapes / "val" / "000001.png", output=tmp_path / "out.png"):
        files = (image, "--model", trained / "best", "--output", output)
        return solq("explain", *files, *arguments)

    return run


def test_the_query_behind_the_best_instance_is_drawn(explain, tmp_path):
    ran = explain("--threshold", 0)
    assert (ran.code, ran.errors) == (0, "")
    assert ran.output.startswith("query ")
    assert f"see {tmp_path / 'out.png'}" in ran.output
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width == 960


def test_the_numbers_are_written_when_asked_for(explain, tmp_path):
    assert explain("--query", 3, "--json", tmp_path / "out.json").code == 0
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert numbers["query"] == 3
    assert numbers["image_size"] == [64, 64]
    weights = numbers["weights"]  # [layers][heads][levels][points] of the small model
    shape = (len(weights), len(weights[0]), len(weights[0][0]), len(weights[0][0][0]))
    assert shape == (1, 2, 2, 1)
    assert sum(weight for level in weights[0][0] for weight in level) == pytest.approx(1)


@pytest.mark.parametrize(
    "arguments",
    [("--layer", 0, "--head", 1, "--level", 1), ("--layer", "all", "--style", "heat")],
    ids=["one of each", "heat of all layers"],
)
def test_parts_and_styles_give_other_pictures(explain, tmp_path, arguments):
    assert explain("--query", 0).code == 0
    whole = (tmp_path / "out.png").read_bytes()
    assert explain("--query", 0, *arguments).code == 0
    assert (tmp_path / "out.png").read_bytes() != whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--query", 5), "query must be in 0..4, got 5"),
        (("--query", 0, "--layer", 1), 'layer must be in 0..0 or "all", got 1'),
        (("--query", 0, "--head", 2), "head must be in 0..1, got 2"),
        (("--query", 0, "--level", 2), "level must be in 0..1, got 2"),
        (("--query", 0, "--instance", 0), "expected a query or an instance"),
        (("--threshold", 0.999), "no instance with a score of at least 0.999; the best of all"),
        (("--threshold", 2), "threshold must be in 0..1, got 2.0"),
    ],
)
def test_what_is_not_there_is_refused(explain, tmp_path, arguments, message):
    ran = explain(*arguments)
    assert ran.code == 2
    assert message in ran.errors
    assert "Traceback" not in ran.errors
    assert not (tmp_path / "out.png").exists()


def test_an_image_that_cannot_be_read_is_refused(explain, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    ran = explain("--query", 0, image=tmp_path / "broken.png")
    assert ran.code == 2
    assert f"image {tmp_path / 'broken.png'}: not a whole image file" in ran.errors
    ran = explain("--query", 0, image=tmp_path / "none.png")
    assert ran.code == 2
    assert f"image {tmp_path / 'none.png'}: no such file" in ran.errors


def test_results_that_cannot_be_written_are_refused_first(explain, tmp_path):
    for output, message in (
        (tmp_path / "out.xyz", "the ending must be that of an image format"),
        (tmp_path / "none" / "out.png", "expected a file in a folder that exists"),
    ):
        ran = explain("--query", 0, output=output)
        assert ran.code == 2
        assert message in ran.errors
    ran = explain("--query", 0, "--json", tmp_path)
    assert ran.code == 2
    assert f"json {tmp_path}: expected a file, got a folder" in ran.errors


def test_the_image_itself_is_never_overwritten(explain, shapes, tmp_path):
    image = tmp_path / "photo.png"
    shutil.copy(shapes / "val" / "000001.png", image)
    before = image.read_bytes()
    ran = explain("--query", 0, image=image, output=image)
    assert ran.code == 2
    assert "expected another file than the image" in ran.errors
    assert image.read_bytes() == before
