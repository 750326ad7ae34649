"""Folders that appear whole or not at all, and files with a second name."""

from __future__ import annotations

from pathlib import Path

import pytest

from solq_train.data.defects import DataError
from solq_train.data.folders import link_or_copy, new_folder


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "set"
    with new_folder(target) as folder:
        (folder / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def test_an_error_leaves_nothing_and_an_empty_folder_stays(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        with new_folder(target) as folder:
            (folder / "file").write_text("x")
            msg = "stop"
            raise ValueError(msg)

    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        with pytest.raises(ValueError, match="stop"):
            fail(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_what_holds_files_or_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for target, words in (
        (tmp_path, "new or empty folder"),
        (tmp_path / "file", "got a file"),
        (tmp_path / "file" / "below", "cannot be written there"),
    ):
        with pytest.raises(DataError, match=words), new_folder(target):
            pass
    assert (tmp_path / "file").read_text() == "precious"


def test_a_linked_file_is_the_same_file_and_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    link_or_copy(tmp_path / "link", tmp_path / "deep" / "er" / "target")
    target = tmp_path / "deep" / "er" / "target"
    assert not target.is_symlink()
    assert target.samefile(tmp_path / "file")


def test_a_file_is_copied_where_it_cannot_be_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "file").write_text("x")
    link_or_copy(tmp_path / "file", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "x"
    assert not (tmp_path / "target").samefile(tmp_path / "file")
