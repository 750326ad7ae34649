"""Files appear whole or not at all."""

import os

import pytest

from solq_maskcodec.atomic import atomic_file


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "numbers.json"
    with atomic_file(path) as temporary:
        temporary.write_text("[1]")
        assert temporary.suffix == ".json"
        assert not path.exists()
    assert path.read_text() == "[1]"
    assert [*tmp_path.iterdir()] == [path]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "numbers.json"
    path.write_text("[1]")

    def write_half():
        with atomic_file(path) as temporary:
            temporary.write_text("[2")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_half()
    assert path.read_text() == "[1]"
    assert [*tmp_path.iterdir()] == [path]


def test_the_new_file_is_on_disk_before_it_takes_the_place_of_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "numbers.txt"
    path.write_text("old")
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(path.read_text()))
    with atomic_file(path) as temporary:
        temporary.write_text("new")
    assert seen == ["old"]
    assert path.read_text() == "new"
