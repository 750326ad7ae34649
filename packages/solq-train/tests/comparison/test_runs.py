"""Run folders that can be compared, and why others cannot."""

from __future__ import annotations

import json
import shutil

import pytest

from solq_train.comparison import common_data, read_runs
from solq_train.data import find_split


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_run_is_all_that_it_left(two_runs):
    first, second = read_runs(two_runs)
    assert (first.name, second.name) == ("plain", "perfect")
    assert first.has_masks
    assert (first.config["seed"], second.config["seed"]) == (42, 7)
    assert len(first.history.training) == 4
    assert {d["score"] for d in second.detections} == {1.0}


def test_the_numbers_of_a_run_are_those_of_its_summary(two_runs):
    runs = read_runs(two_runs)
    coco = common_data(runs, None).coco
    metrics = runs[0].metrics(coco).to_dict()
    assert metrics == {name: runs[0].summary[name] for name in metrics}
    assert pytest.approx(1.0) == runs[1].metrics(coco).segm.AP


def test_runs_of_one_name_are_called_by_their_paths(own_runs, tmp_path):
    other = tmp_path / "other" / "plain"
    shutil.copytree(own_runs[0], other)
    assert [run.name for run in read_runs([own_runs[0], other])] == [str(own_runs[0]), str(other)]


def test_the_data_is_found_where_the_run_found_it_or_where_it_is_said_to_be(two_runs, shapes):
    runs = read_runs(two_runs)
    split = find_split(shapes, "val")
    for data in (common_data(runs, None), common_data(runs, shapes)):
        assert (data.coco.path, data.images) == (split.annotations, split.images)
        assert len(data.coco.images) == 4


def test_only_the_images_that_were_evaluated_count(own_runs):
    for run in own_runs:
        edit(run / "config.json", lambda config: config["data"].update(image_ids=[1, 3]))
    assert [image.id for image in common_data(read_runs(own_runs), None).coco.images] == [1, 3]


@pytest.mark.parametrize("name", ["detections.json", "summary.json", "metrics.jsonl"])
def test_a_run_that_is_not_finished_is_refused_with_what_it_lacks(own_runs, name):
    (own_runs[1] / name).unlink()
    with pytest.raises(ValueError, match=f"perfect: not finished, .* no {name}"):
        read_runs(own_runs)


def test_a_run_that_went_on_after_its_end_is_refused_until_it_ends_again(own_runs):
    edit(own_runs[0] / "summary.json", lambda summary: summary.update(steps=3))
    with pytest.raises(ValueError, match=r"plain: not finished, it is beyond the step that its"):
        read_runs(own_runs)


def test_a_folder_of_something_else_is_refused(own_runs, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: expected the folder of a run, found no config"):
        read_runs([own_runs[0], tmp_path / "empty"])
    with pytest.raises(ValueError, match="none: no such folder"):
        read_runs([own_runs[0], tmp_path / "none"])


def test_one_run_alone_and_the_same_run_twice_are_refused(own_runs):
    with pytest.raises(ValueError, match="runs must be at least 2, got 1"):
        read_runs(own_runs[:1])
    with pytest.raises(ValueError, match=r"runs must be distinct, got .* twice"):
        read_runs([own_runs[0], own_runs[0]])


@pytest.mark.parametrize("name", ["config.json", "summary.json", "detections.json"])
def test_damaged_files_are_named(own_runs, name):
    (own_runs[0] / name).write_text('{"a": ')
    with pytest.raises(ValueError, match=name):
        read_runs(own_runs)


@pytest.mark.parametrize("entry", [5, {}, {"image_id": "1"}, {"bbox": 1}, {"segmentation": []}])
def test_entries_that_are_no_detections_are_refused(own_runs, entry):
    path = own_runs[0] / "detections.json"
    sound = json.loads(path.read_text())[0]
    is_part = isinstance(entry, dict) and entry
    path.write_text(json.dumps([sound, sound | entry if is_part else entry]))
    with pytest.raises(ValueError, match=r"detections\.json: "):
        read_runs(own_runs)


def test_a_summary_of_an_earlier_version_is_refused(own_runs):
    edit(own_runs[0] / "summary.json", lambda summary: summary.pop("data"))
    with pytest.raises(ValueError, match="must say in 'data' what the run was evaluated on"):
        read_runs(own_runs)


def test_runs_on_different_data_are_refused(own_runs):
    edit(own_runs[1] / "summary.json", lambda s: s["data"].update(sha256="0", validation="x.json"))
    with pytest.raises(ValueError, match=r"same data, but plain was on 4 .*, and perfect on 4 .*x"):
        common_data(read_runs(own_runs), None)


def test_runs_on_different_images_of_one_file_are_refused(own_runs):
    edit(own_runs[1] / "config.json", lambda config: config["data"].update(image_ids=[1, 2, 3, 4]))
    with pytest.raises(ValueError, match="other images chosen of it"):
        common_data(read_runs(own_runs), None)


def test_data_that_is_gone_or_has_changed_is_told_with_a_way_out(own_runs, copied_set):
    annotations = find_split(copied_set.folder, "val").annotations
    for run in own_runs:
        edit(run / "summary.json", lambda s: s["data"].update(validation=str(annotations)))
    runs = read_runs(own_runs)
    annotations.write_text(annotations.read_text() + " ")
    with pytest.raises(ValueError, match="changed since the runs were evaluated on it; --data"):
        common_data(runs, None)
    with pytest.raises(ValueError, match="expected the annotations the runs were evaluated on"):
        common_data(runs, copied_set.folder)
    annotations.unlink()
    with pytest.raises(ValueError, match="no such annotation file; --data"):
        common_data(runs, None)
    with pytest.raises(ValueError, match="none: no such folder"):
        common_data(runs, copied_set.folder / "none")
