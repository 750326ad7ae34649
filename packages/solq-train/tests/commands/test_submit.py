"""`solq submit` and `solq check-submission`: the file for COCO's server, stopped or not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from solq_train.data import find_split
from solq_train.metrics import evaluate_detections
from solq_train.submission import parts

NAME = "detections_test-dev2017_solq_results"

# Parts of 3 images; the process is killed when it looks at its 8th, in the third part.
KILLED = """
import os, signal, sys
from solq_train.cli import main
from solq_train.submission import finding, parts
parts.PART_IMAGES = 3
load, count = finding.load_image, 0
def load_until_killed(*arguments):
    global count
    count += 1
    if count == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return load(*arguments)
finding.load_image = load_until_killed
main(sys.argv[1:])
"""


@pytest.fixture
def data(copied_set, tmp_path) -> Path:
    """The 8 training images as COCO describes a test set: without any objects."""
    document = json.loads(copied_set.annotations.read_text())
    del document["annotations"]
    path = tmp_path / "image_info_test-dev2017.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def arguments(trained, copied_set, data):
    named = ("--model", trained / "best", "--data", data, "--images", copied_set.images)
    return ("submit", *named, "--top-k", 5, "--batch-size", 2)


@pytest.fixture
def submit(solq, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_IMAGES", 3)

    def start(*more: object, output: str = "out"):
        return solq(*arguments, "--output", tmp_path / output, *more)

    return start


def detections(path: Path) -> list[dict]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(f"{path.stem}.json"))


def test_the_archive_is_named_as_coco_wants_it_and_has_boxes_and_masks(submit, tmp_path):
    ran = submit()
    assert (ran.code, ran.errors) == (0, "")
    assert "40 detections in 8 images (0 without any), no problems" in ran.output
    found = detections(tmp_path / "out" / f"{NAME}.zip")
    assert len(found) == 40
    assert set(found[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}
    assert list(dict.fromkeys(d["image_id"] for d in found)) == list(range(1, 9))


def test_a_submission_has_the_numbers_of_the_evaluation(
    submit, solq, trained, copied_set, tmp_path
):
    assert submit("--top-k", 15).code == 0
    found = detections(tmp_path / "out" / f"{NAME}.zip")
    # Every third detection is made an object, for numbers between 0 and 1.
    objects = [d | {"id": i, "area": 300.0, "iscrowd": 0} for i, d in enumerate(found[::3], 1)]
    copied_set.edit(lambda document: document.update(annotations=objects))
    named = ("--model", trained / "best", "--data", copied_set.folder, "--split", "train")
    options = ("--top-k", 15, "--batch-size", 2, "--output", tmp_path / "evaluated")
    assert solq("evaluate", *named, *options).code == 0
    numbers = json.loads((tmp_path / "evaluated" / "metrics.json").read_text())
    for kind, stats in evaluate_detections(
        find_split(copied_set.folder, "train").annotations, found, ("bbox", "segm")
    ).items():
        assert 0.1 < stats.AP < 0.9
        assert stats.to_dict() == {n: numbers[f"{kind}.{n}"] for n in stats.to_dict()}


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_run_goes_on_to_the_same_bytes(submit, arguments, tmp_path):
    assert submit(output="whole").code == 0
    command = [*arguments, "--output", tmp_path / "killed"]
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, command)],
        capture_output=True,
        check=False,
        # As many threads as here: sums round in another order otherwise.
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == -signal.SIGKILL
    killed = tmp_path / "killed"
    assert sorted(p.name for p in (killed / "parts").iterdir()) == ["000000.jsonl", "000001.jsonl"]
    assert not (killed / f"{NAME}.zip").exists()
    ran = submit("--resume", output="killed")
    assert ran.code == 0
    whole = tmp_path / "whole" / f"{NAME}.zip"
    assert (killed / f"{NAME}.zip").read_bytes() == whole.read_bytes()


def test_processes_that_load_images_change_nothing(submit, tmp_path):
    assert submit(output="alone").code == 0
    assert submit("--num-workers", 2, output="workers").code == 0
    alone, workers = (tmp_path / folder / f"{NAME}.zip" for folder in ("alone", "workers"))
    assert alone.read_bytes() == workers.read_bytes()


def test_a_finished_run_gives_another_kind_without_finding_anything_anew(
    submit, tmp_path, monkeypatch
):
    assert submit().code == 0
    monkeypatch.setattr("solq_train.submission.finding.load_image", None)
    ran = submit("--resume", "--kind", "segm", "--name", "masks")
    assert ran.code == 0
    found = detections(tmp_path / "out" / "detections_test-dev2017_masks_results.zip")
    assert "bbox" not in found[0]


def test_going_on_with_other_settings_is_refused_by_name(submit, trained):
    assert submit().code == 0
    ran = submit("--resume", "--top-k", 4, "--model", trained / "best")
    assert ran.code == 2
    assert "was begun with something else: top_k: 5 → 4" in ran.errors
    assert submit().code == 2  # and without --resume nothing is overwritten


def test_images_that_cannot_be_read_are_all_told_and_no_file_is_written(
    submit, copied_set, tmp_path
):
    broken = [copied_set.images / f"00000{n}.png" for n in (2, 7)]
    contents = [path.read_bytes() for path in broken]
    for path in broken:
        path.write_bytes(b"no image")
    ran = submit()
    assert ran.code == 1
    assert "no file was written: 2 images could not be read" in ran.output
    assert all(path.name in ran.errors for path in broken)
    assert not list((tmp_path / "out").glob("*.zip"))
    for path, content in zip(broken, contents, strict=True):
        path.write_bytes(content)
    assert submit("--resume").code == 0
    assert submit(output="whole").code == 0
    out, whole = (tmp_path / folder / f"{NAME}.zip" for folder in ("out", "whole"))
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--top-k", 101), "top_k must be 1 to 100, got 101"),
        (("--batch-size", 0), "batch_size must be at least 1, got 0"),
        (("--num-workers", -1), "num_workers must be at least 0, got -1"),
        (("--name", "a_b"), "name must be letters, digits, dots and hyphens, got 'a_b'"),
        (("--image-set", "a/b"), "image_set must be letters, digits, dots and hyphens"),
        (("--data", "none.json"), "none.json: no such annotation file"),
        (("--images", "none"), "none: must be the folder of the images"),
        (("--model", "./none"), "none"),
        (("--resume",), "holds no run to go on with"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(submit, tmp_path, more, expected):
    ran = submit(*more)
    assert ran.code == 2
    assert expected in ran.errors
    assert len(ran.errors.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_image_is_refused_before_anything_is_written(submit, copied_set, tmp_path):
    (copied_set.images / "000005.png").unlink()
    ran = submit()
    assert ran.code == 2
    assert "000005.png: no such image file" in ran.errors
    assert not (tmp_path / "out").exists()


def test_a_model_of_other_categories_is_refused(submit, data):
    document = json.loads(data.read_text())
    document["categories"] = document["categories"][:2]
    data.write_text(json.dumps(document))
    ran = submit()
    assert ran.code == 2
    assert "model must know categories of" in ran.errors
    assert "knows the ids [23]" in ran.errors


def test_the_check_names_what_is_wrong_with_a_file(submit, solq, data, tmp_path):
    assert submit().code == 0
    path = tmp_path / "out" / f"{NAME}.zip"
    assert solq("check-submission", path, "--data", data).code == 0
    document = json.loads(data.read_text())
    document["images"] = document["images"][1:]
    data.write_text(json.dumps(document))
    ran = solq("check-submission", path, "--data", data)
    assert ran.code == 2
    assert "detection 0: image_id must be an image of the set, got 1" in ran.output
    assert "5 problems" in ran.output


def test_the_check_of_no_zip_file_is_one_line(solq, data, tmp_path):
    ran = solq("check-submission", tmp_path / "none.zip", "--data", data)
    assert ran.code == 2
    assert f"submission {tmp_path / 'none.zip'}: no such file" in ran.errors
