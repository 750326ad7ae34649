"""The embedded data set: complete, sound, the same every time, and never half-written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from solq_train.data import shapes
from solq_train.data.check import check_coco
from solq_train.data.coco import CocoFile, annotation_mask, read_coco
from solq_train.data.defects import DataError, DefectKind
from solq_train.data.shapes import make_shapes

NUM_TRAIN, NUM_VAL = 60, 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sets") / "shapes"
    assert make_shapes(directory, NUM_TRAIN, NUM_VAL)
    return directory


def split_of(directory: Path, split: str) -> CocoFile:
    return read_coco(directory / "annotations" / f"instances_{split}.json")


def digest(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(("split", "count"), [("train", NUM_TRAIN), ("val", NUM_VAL)])
def test_the_check_finds_notes_only_with_a_crowd_and_an_empty_image(
    made: Path, split: str, count: int
) -> None:
    report = check_coco(made / "annotations" / f"instances_{split}.json", made / split)
    assert {found.kind for found in report.defects} == {
        DefectKind.CROWD,
        DefectKind.NO_ANNOTATIONS,
    }
    assert report.summary is not None
    assert report.summary.num_images == count
    assert [item.id for item in report.summary.categories] == [1, 7, 23]
    assert [item.name for item in report.summary.categories] == ["blob", "star", "ring"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_boxes_and_areas_are_those_of_the_masks(made: Path, split: str) -> None:
    for image in split_of(made, split).images:
        for item in image.annotations:
            mask = annotation_mask(item, (image.height, image.width))
            rows, columns = np.nonzero(mask)
            x, y, width, height = item.bbox_xywh
            assert (x, y) == (columns.min(), rows.min()), item.id
            assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1), item.id
            assert item.area == mask.sum(), item.id


def test_all_three_formats_of_segmentations_occur(made: Path) -> None:
    items = [item for image in split_of(made, "train").images for item in image.annotations]
    formats = [
        "polygons"
        if isinstance(item.segmentation, list)
        else type(item.segmentation["counts"]).__name__
        for item in items
    ]
    assert set(formats) == {"polygons", "list", "str"}
    crowds = [item.segmentation for item in items if item.is_crowd]
    assert all(isinstance(segmentation["counts"], list) for segmentation in crowds)


def test_holes_overlaps_and_two_part_objects_occur(made: Path) -> None:
    masks = [
        (item.category_id, annotation_mask(item, (128, 128)))
        for image in split_of(made, "train").images
        for item in image.annotations
        if not item.is_crowd
    ]
    num_parts = [ndimage.label(mask)[1] for _, mask in masks]
    assert 0.04 < np.mean(np.array(num_parts) >= 2) < 0.4
    holes = [ndimage.binary_fill_holes(mask).sum() > mask.sum() for id_, mask in masks if id_ == 23]
    assert np.mean(holes) > 0.6


def test_the_same_seed_makes_the_same_files(made: Path, tmp_path: Path) -> None:
    make_shapes(tmp_path / "again", NUM_TRAIN, NUM_VAL)
    assert digest(tmp_path / "again") == digest(made)


def test_another_seed_makes_other_pictures(made: Path, tmp_path: Path) -> None:
    make_shapes(tmp_path / "other", 3, 3, seed=1)
    first = "train/000001.png"
    assert digest(tmp_path / "other")[first] != digest(made)[first]


def test_a_longer_set_begins_like_a_shorter_one(made: Path, tmp_path: Path) -> None:
    make_shapes(tmp_path / "short", 5, 3)
    short, long = digest(tmp_path / "short"), digest(made)
    for path in (f"train/{number:06d}.png" for number in range(1, 6)):
        assert short[path] == long[path]


def test_training_and_validation_images_differ(made: Path) -> None:
    digests = digest(made)
    assert digests["train/000001.png"] != digests["val/000001.png"]


def test_a_set_that_is_there_is_kept(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert not make_shapes(made, NUM_TRAIN, NUM_VAL)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def test_another_set_in_the_folder_is_refused_and_left_alone(made: Path) -> None:
    before = digest(made)
    with pytest.raises(DataError, match=r"another set of shapes: .*\"seed\": 0"):
        make_shapes(made, NUM_TRAIN, NUM_VAL, seed=5)
    assert digest(made) == before


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="got a folder with other files"):
        make_shapes(tmp_path, 3, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert make_shapes(tmp_path / "set", 3, 3)
    assert len(list((tmp_path / "set" / "val").iterdir())) == 3


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("")
    with pytest.raises(DataError, match="must be a folder for the data set, got a file"):
        make_shapes(tmp_path / "set", 3, 3)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"set: the data set cannot be written there: .*file'"):
        make_shapes(tmp_path / "file" / "set", 3, 3)


def test_nothing_is_left_when_it_is_interrupted(tmp_path: Path) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_shapes(tmp_path / "set", 3, 3, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_all_images(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    make_shapes(tmp_path / "set", 4, 3, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 7) for done in range(1, 8)]


def test_other_sizes_are_sound_too(tmp_path: Path) -> None:
    make_shapes(tmp_path / "set", 4, 3, image_size=72)
    report = check_coco(
        tmp_path / "set" / "annotations" / "instances_train.json", tmp_path / "set" / "train"
    )
    assert not report.has_errors


def test_manifest_says_how_the_set_was_made(made: Path) -> None:
    manifest = json.loads((made / "shapes.json").read_text())
    assert manifest["seed"] == 0
    assert (manifest["train"], manifest["val"], manifest["image_size"]) == (60, 8, 128)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_train": 2}, "num_train must be at least 3, got 2"),
        ({"num_val": 0}, "num_val must be at least 3, got 0"),
        ({"image_size": 16}, "image_size must be at least 32, got 16"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, arguments: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_shapes(tmp_path / "set", **arguments)
    assert not (tmp_path / "set").exists()


def test_categories_have_ids_with_gaps() -> None:
    assert shapes.CATEGORY_IDS == {"blob": 1, "star": 7, "ring": 23}
