"""Atomic writing: whole or not at all."""

import pytest

from solq_model.atomic import atomic_directory, atomic_file, previous_of


class StoppedError(Exception):
    """Whatever ends a process in the middle of writing."""


def write_then_stop(file, text):
    file.write_text(text)
    raise StoppedError


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "result.json"
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["result.json"]


def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_stopped_file_leaves_what_was_there(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(StoppedError), atomic_file(path) as temporary:
        write_then_stop(temporary, "ne")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["result.json"]


def test_a_folder_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "model"
    with atomic_directory(path) as temporary:
        (temporary / "a").write_text("1")
        (temporary / "inner").mkdir()
        (temporary / "inner" / "b").write_text("2")
        assert not path.exists()
    assert (path / "a").read_text() == "1"
    assert (path / "inner" / "b").read_text() == "2"
    assert names_in(path.parent) == ["model"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("1")
    with atomic_directory(path) as temporary:
        (temporary / "new").write_text("2")
    assert names_in(path) == ["new"]
    assert names_in(tmp_path) == ["model"]


def test_a_stopped_folder_leaves_what_was_there(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("1")
    with pytest.raises(StoppedError), atomic_directory(path) as temporary:
        write_then_stop(temporary / "new", "2")
    assert names_in(path) == ["old"]
    assert names_in(tmp_path) == ["model"]


def test_between_the_old_folder_and_the_new_the_old_one_is_the_previous(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("1")
    rename = type(path).rename

    def stop_before_the_new_gets_its_name(self, target):
        if target == path:
            raise StoppedError
        return rename(self, target)

    monkeypatch.setattr(type(path), "rename", stop_before_the_new_gets_its_name)
    with pytest.raises(StoppedError), atomic_directory(path) as temporary:
        (temporary / "new").write_text("2")
    assert names_in(tmp_path) == ["model.previous"]
    assert names_in(previous_of(path)) == ["old"]

    monkeypatch.undo()
    with atomic_directory(path) as temporary:
        (temporary / "new").write_text("2")
    assert names_in(tmp_path) == ["model"]
    assert names_in(path) == ["new"]


def test_what_a_killed_process_left_is_not_mixed_in(tmp_path):
    path = tmp_path / "model"
    with pytest.raises(StoppedError), atomic_directory(path) as temporary:
        raise StoppedError
    temporary.mkdir()
    (temporary / "left").write_text("1")
    with atomic_directory(path) as again:
        assert again == temporary
        (again / "new").write_text("2")
    assert names_in(path) == ["new"]
