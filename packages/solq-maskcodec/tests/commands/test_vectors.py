"""`solq-maskcodec encode` and `decode`."""

import json
from pathlib import Path

import numpy as np
import pytest

from solq_maskcodec import DCTMaskCodec, rle_to_masks
from solq_maskcodec.cli import main
from solq_maskcodec.dataset.vector_file import read_vectors


@pytest.fixture
def file(annotations, tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(annotations), encoding="utf-8")
    return str(path)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_encode_says_what_it_wrote_and_what_it_left_out(file, tmp_path, capsys):
    output = tmp_path / "vectors.solq"
    assert run("encode", file, "--output", output) == 0
    size = output.stat().st_size
    assert capsys.readouterr().out == (
        "1 objects have no box in their image and are left out\n"
        f"wrote 4 vectors of 256 numbers, {size} bytes: {output}\n"
    )
    assert read_vectors(output).codec == DCTMaskCodec(256, 128, 0.5)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
@pytest.mark.parametrize("refine", [0, 10])
def test_decoded_masks_are_near_the_objects(file, annotations, tmp_path, dtype, refine):
    vectors, results = tmp_path / "vectors.npz", tmp_path / "results.json"
    arguments = ("--dtype", dtype, "--refine", refine)
    assert run("encode", file, "--output", vectors, *arguments) == 0
    assert run("decode", vectors, "--output", results) == 0
    found = json.loads(results.read_text("utf-8"))
    masks = rle_to_masks([found[2]["segmentation"], annotations["annotations"][2]["segmentation"]])
    assert masks.all(axis=0).sum() / masks.any(axis=0).sum() > 0.95
    assert [*found[0]] == ["image_id", "category_id", "annotation_id", "segmentation", "score"]


def test_decode_cuts_where_encode_said(file, tmp_path):
    areas = {}
    for threshold in ("0.2", "0.8", "midrange"):
        vectors, results = tmp_path / "vectors.npz", tmp_path / "results.json"
        arguments = ("--threshold", threshold, "--coefficients", 32, "--refine", 0)
        assert run("encode", file, "--output", vectors, *arguments) == 0
        assert run("decode", vectors, "--output", results) == 0
        found = json.loads(results.read_text("utf-8"))
        areas[threshold] = rle_to_masks([found[2]["segmentation"]]).sum()
    assert areas["0.8"] < areas["midrange"] < areas["0.2"]


def test_a_damaged_file_is_refused_and_nothing_written(file, tmp_path, capsys):
    vectors, results = tmp_path / "vectors.npz", tmp_path / "results.json"
    assert run("encode", file, "--output", vectors) == 0
    content = bytearray(vectors.read_bytes())
    content[np.argmax(np.frombuffer(content, np.uint8) == ord("Q"))] ^= 1
    vectors.write_bytes(content)
    capsys.readouterr()
    assert run("decode", vectors, "--output", results) == 2
    error = capsys.readouterr().err
    assert f"{vectors}: expected a file of solq-maskcodec vectors, got a broken one" in error
    assert not results.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--coefficients", "0"], "num_coefficients must be a positive integer, got 0"),
        (["--refine", "-1"], "--refine must be numbers of at least 0, got -1"),
        (["--threshold", "otsu"], "threshold must be"),
    ],
)
def test_wrong_values_are_told_and_nothing_written(file, tmp_path, capsys, arguments, message):
    output = tmp_path / "vectors.npz"
    assert run("encode", file, "--output", output, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_the_annotations_are_not_overwritten(file, capsys):
    assert run("encode", file, "--output", file) == 2
    assert "must be another file than the one that is read" in capsys.readouterr().err
    assert Path(file).read_bytes().startswith(b"{")
