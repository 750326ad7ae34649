"""`solq data`: make the embedded data set; convert, check, split and look at any."""

from __future__ import annotations

import json
import shutil

from PIL import Image


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


def test_a_check_can_write_a_page_and_tells_the_ceiling(solq, shapes, tmp_path):
    page = tmp_path / "new" / "check.html"
    ran = solq("data", "check", shapes, "--output", page, "--coefficients", 64)
    assert ran.code == 0
    assert "what 64 coefficients keep of the masks" in ran.output
    assert f"see {page}" in ran.output
    assert "instances_train.json" in page.read_text()


def test_a_check_can_read_the_annotation_files_alone(solq, copied_set):
    shutil.rmtree(copied_set.images)
    copied_set.images.mkdir()
    arguments = ("data", "check", copied_set.folder, "--ceiling-objects", 0)
    assert solq(*arguments, "--no-read-images").code == 0
    assert solq(*arguments).code == 2


def test_a_picture_in_both_splits_is_told(solq, copied_set):
    shutil.copy(copied_set.images / "000001.png", copied_set.folder / "val" / "000001.png")
    ran = solq("data", "check", copied_set.folder)
    assert "warning: same picture in two splits: 1 (training learns what evaluation asks)" in (
        ran.output
    )


def test_views_are_a_picture_each_or_one_sheet(solq, shapes, tmp_path):
    ran = solq("data", "view", shapes, "--image", 1, 3, "--output", tmp_path / "pictures")
    assert ran.code == 0
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"1.png", "3.png"}
    assert "2 of 8 images" in ran.output
    sheet = tmp_path / "sheet.jpg"
    assert solq("data", "view", shapes, "--split", "val", "--output", sheet).code == 0
    with Image.open(sheet) as picture:
        assert picture.format == "JPEG"


def test_views_of_unknown_images_or_into_full_folders_are_refused(solq, shapes, tmp_path):
    (tmp_path / "file").write_text("precious")
    ran = solq("data", "view", shapes, "--image", 99, "--output", tmp_path / "new")
    assert ran.code == 2
    assert "image must be ids of" in ran.errors
    ran = solq("data", "view", shapes, "--output", tmp_path)
    assert ran.code == 2
    assert "expected a new or empty folder" in ran.errors
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_training_sees_is_drawn_epoch_by_epoch(solq, shapes, run_file, tmp_path):
    options = ("--recipe", "tiny_cpu", "--config", run_file, "--draws", 2, "--image", 1, 3)
    ran = solq("data", "view", shapes, *options, "--output", tmp_path / "seen")
    assert ran.code == 0
    names = ["1_epoch0.png", "1_epoch1.png", "3_epoch0.png", "3_epoch1.png"]
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == names
    assert "2 of 8 images" in ran.output
    added = ("--copy-paste", 1, "--jitter-size", 64)
    assert solq("data", "view", shapes, *options, *added, "--output", tmp_path / "more").code == 0
    seen, more = ((tmp_path / folder / names[0]).read_bytes() for folder in ("seen", "more"))
    assert seen != more
    again = tmp_path / "again"
    assert solq("data", "view", shapes, *options, *added, "--output", again).code == 0
    assert (again / names[0]).read_bytes() == more


def test_samples_come_on_one_sheet_too(solq, shapes, run_file, tmp_path):
    options = ("--recipe", "tiny_cpu", "--config", run_file, "--limit", 2)
    assert solq("data", "view", shapes, *options, "--output", tmp_path / "sheet.png").code == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 3 * 360  # 8 pictures


def test_impossible_samples_are_refused_by_name(solq, shapes, tmp_path):
    recipe = ("--recipe", "tiny_cpu")
    for options, words in [
        (("--copy-paste", 0.5), "copy_paste can be given with --recipe only, got 0.5"),
        (("--config", "a.toml"), "config can be given with --recipe only, got a.toml"),
        ((*recipe, "--copy-paste", 2), "copy_paste must be a probability in [0, 1], got 2.0"),
        ((*recipe, "--jitter-size", 0), "jitter_size must be at least 1, got 0"),
        ((*recipe, "--draws", 0), "draws must be at least 1, got 0"),
        ((*recipe, "--config", tmp_path / "none.toml"), "none.toml: no such file"),
    ]:
        ran = solq("data", "view", shapes, *options, "--output", tmp_path / "new")
        assert ran.code == 2, words
        assert words in ran.errors
        assert not (tmp_path / "new").exists()


def test_a_set_is_divided_the_same_way_again(solq, shapes, tmp_path):
    for name in ("one", "two"):
        ran = solq("data", "split", shapes, "--val", 0.3, "--output", tmp_path / name)
        assert ran.code == 0
        assert "images to train on" in ran.output
    one, two = ((tmp_path / name / "annotations/instances_val.json") for name in ("one", "two"))
    assert one.read_text() == two.read_text()
    assert solq("data", "check", tmp_path / "one").code == 0


def test_a_folder_of_yolo_becomes_a_data_set(solq, tmp_path):
    source, output = tmp_path / "yolo", tmp_path / "set"
    for folder in ("images", "labels"):
        (source / folder).mkdir(parents=True)
    (source / "classes.txt").write_text("leaf\n")
    for name in ("a", "b", "c"):
        Image.new("RGB", (60, 40), "green").save(source / "images" / f"{name}.png")
        (source / "labels" / f"{name}.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.9\n0 1 1 1 1\n")
    ran = solq("data", "convert", source, output, "--from", "yolo", "--val", 0.4)
    assert ran.code == 0
    assert "left out: YOLO box without a polygon" in ran.output
    assert "read as yolo" in ran.output
    assert solq("data", "check", output, "--no-read-images").code == 0


def test_a_wrong_label_is_refused_with_file_and_line(solq, tmp_path):
    source = tmp_path / "yolo"
    for folder in ("images", "labels"):
        (source / folder).mkdir(parents=True)
    (source / "classes.txt").write_text("leaf\n")
    Image.new("RGB", (60, 40)).save(source / "images" / "a.png")
    (source / "labels" / "a.txt").write_text("\n0 0.1 0.1 0.5 x 0.5 0.9\n")
    ran = solq("data", "convert", source, tmp_path / "set")
    assert ran.code == 2
    assert f"{source / 'labels' / 'a.txt'} line 2: must hold numbers, got 'x'" in ran.errors
    assert not (tmp_path / "set").exists()
