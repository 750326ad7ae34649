"""Names and bytes of the archive that COCO's server takes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from solq_train.submission import archive_name, image_set_of, write_archive

LINES = [
    '{"image_id":1,"category_id":7,"bbox":[1,2,3,4],"score":0.5,"segmentation":{"size":[1,1]}}',
    '{"image_id":2,"category_id":7,"bbox":[1,2,3,5],"score":0.25,"segmentation":{"size":[1,1]}}',
]


def content(path: Path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{path.stem}.json"]
        return json.loads(archive.read(f"{path.stem}.json"))


def test_the_name_is_as_the_server_wants_it():
    assert archive_name("test-dev2017", "solq") == "detections_test-dev2017_solq_results"


@pytest.mark.parametrize("name", ["", "a_b", "../x", "a b"])
def test_a_name_that_would_not_stand_for_itself_is_refused(name):
    with pytest.raises(ValueError, match="name must be letters, digits, dots and hyphens"):
        archive_name("test-dev2017", name)


def test_the_image_set_is_read_from_the_names_of_cocos_files():
    names = ("image_info_test-dev2017.json", "instances_val2017.json", "own.json")
    assert [image_set_of(Path(name)) for name in names] == ["test-dev2017", "val2017", "own"]


@pytest.mark.parametrize("lines", [LINES, LINES[:1], []])
def test_the_archive_holds_one_list_of_all_lines(tmp_path, lines):
    path = tmp_path / "detections_a_b_results.zip"
    assert write_archive(path, lines, kind="both", size=1000) == len(lines)
    assert content(path) == [json.loads(line) for line in lines]


def test_boxes_or_masks_are_left_out_on_request(tmp_path):
    kept = {}
    for kind in ("bbox", "segm"):
        path = tmp_path / f"{kind}.zip"
        write_archive(path, LINES, kind=kind, size=1000)
        kept[kind] = set(content(path)[1])
    assert kept["bbox"] == {"image_id", "category_id", "bbox", "score"}
    assert kept["segm"] == {"image_id", "category_id", "segmentation", "score"}


def test_the_same_lines_give_the_same_bytes_whenever_they_are_written(tmp_path, monkeypatch):
    first, second = tmp_path / "1" / "x.zip", tmp_path / "2" / "x.zip"
    for path in (first, second):
        path.parent.mkdir()
        write_archive(path, LINES, kind="both", size=1000)
        monkeypatch.setattr("time.time", lambda: 2e9)
    assert first.read_bytes() == second.read_bytes()


def test_an_archive_beyond_2_gib_is_announced_as_one(tmp_path):
    path = tmp_path / "x.zip"
    write_archive(path, LINES, kind="both", size=1 << 32)
    assert len(content(path)) == 2
