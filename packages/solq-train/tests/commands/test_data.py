"""`solq data`: make the embedded data set, check any."""

from __future__ import annotations

import json


def make(solq, folder, *arguments: object):
    return solq("data", "make-shapes", folder, "--num-train", 3, "--num-val", 3, *arguments)


def test_the_embedded_data_set_is_made_once(solq, tmp_path):
    folder = tmp_path / "shapes"
    first, again = make(solq, folder), make(solq, folder)
    assert (first.code, again.code) == (0, 0)
    assert f"made {folder}" in first.output
    assert f"found {folder}" in again.output
    document = json.loads((folder / "annotations" / "instances_train.json").read_text())
    assert [category["id"] for category in document["categories"]] == [1, 7, 23]


def test_another_data_set_in_the_folder_is_not_overwritten(solq, tmp_path):
    make(solq, tmp_path / "shapes")
    ran = make(solq, tmp_path / "shapes", "--seed", 1)
    assert ran.code == 2
    assert "must be new, empty or hold this very data set" in ran.errors


def test_impossible_numbers_are_refused_by_name(solq, tmp_path):
    ran = make(solq, tmp_path / "shapes", "--image-size", 1)
    assert ran.code == 2
    assert "image_size must be at least 32, got 1" in ran.errors
    assert not (tmp_path / "shapes").exists()


def test_a_sound_data_set_is_described_and_has_notes_only(solq, shapes):
    ran = solq("data", "check", shapes)
    assert (ran.code, ran.errors) == (0, "")
    for text in ("instances_train.json", "instances_val.json", "blob", "star", "ring"):
        assert text in ran.output
    assert ran.output.count("0 errors, 0 warnings") == 2
    assert "note: crowd region: 1 (training leaves it out; evaluation keeps it)" in ran.output


def test_a_single_annotation_file_can_be_checked(solq, shapes):
    file = shapes / "annotations" / "instances_val.json"
    ran = solq("data", "check", "--annotations", file, "--images", shapes / "val")
    assert ran.code == 0
    assert "instances_train.json" not in ran.output


def test_a_check_needs_a_folder_or_a_file_with_images(solq, shapes):
    file = shapes / "annotations" / "instances_val.json"
    for arguments in ((), ("--annotations", file), (shapes, "--annotations", file)):
        ran = solq("data", "check", *arguments)
        assert ran.code == 2
        assert "give either a data set folder, or --annotations and --images" in ran.errors
