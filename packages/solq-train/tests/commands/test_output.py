"""Where commands may write, and tables for the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from solq_train.commands.output import as_table, prepare_output, results_folder


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    prepare_output(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_an_empty_folder_is_taken(tmp_path):
    prepare_output(tmp_path)


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"expected a new or empty folder, found files in it$"):
        prepare_output(tmp_path)


def test_a_folder_to_go_on_from_says_how(tmp_path):
    (tmp_path / "last").mkdir()
    with pytest.raises(ValueError, match=r"found files in it \(--resume goes on\)"):
        prepare_output(tmp_path, resumable=True)
    prepare_output(tmp_path, resume=True, resumable=True)


def test_resuming_needs_a_run_that_was_begun(tmp_path):
    with pytest.raises(ValueError, match=r"--resume: .*none holds no run"):
        prepare_output(tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()


def test_a_file_is_no_output_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="expected a folder, found a file"):
        prepare_output(tmp_path / "file")


def test_a_folder_without_the_right_to_write_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    with pytest.raises(ValueError, match="expected a folder that can be written"):
        prepare_output(tmp_path)


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_results_that_fail_leave_the_place_as_it_was(tmp_path: Path, existed, error):
    output = tmp_path / "out"
    if existed:
        output.mkdir()

    def write_and_fail() -> None:
        with results_folder(output):
            (output / "half.png").touch()
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert output.exists() == existed
    assert list(tmp_path.rglob("half.png")) == []


def test_results_stay_when_all_goes_well(tmp_path):
    with results_folder(tmp_path / "out"):
        (tmp_path / "out" / "whole.png").touch()
    assert (tmp_path / "out" / "whole.png").exists()


def test_names_in_tables_are_shown_as_they_are(console):
    console.print(as_table([["category", "objects"], ["[red] square", "3"]], title="What"))
    shown = console.file.getvalue()
    assert "[red] square" in shown
    assert "What" in shown
