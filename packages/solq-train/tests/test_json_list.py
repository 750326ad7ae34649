"""A JSON list is written and read item by item."""

from __future__ import annotations

import io
import json

import pytest

from solq_train import json_list as json_list_module
from solq_train.json_list import json_list, read_list


@pytest.mark.parametrize("items", [[], [1], [{"a": [1.5, None]}, "\N{SNOWMAN}", []]])
def test_what_was_written_is_read_back(tmp_path, items):
    path = tmp_path / "list.json"
    with json_list(path) as write:
        for item in items:
            write(item)
    assert json.loads(path.read_text(encoding="utf-8")) == items


def test_what_is_no_json_leaves_the_list_that_was_there_before(tmp_path):
    path = tmp_path / "list.json"
    path.write_text("[0]")
    with pytest.raises(TypeError), json_list(path) as write:
        write({1, 2})
    assert path.read_text() == "[0]"
    assert list(tmp_path.iterdir()) == [path]


ITEMS = [{"a": [1.5, None], "b": 'x]y,\\"é'}, [], 123456, "text", {"nested": {"deep": [[]]}}]


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
@pytest.mark.parametrize("indent", [None, 2])
def test_items_come_back_from_pieces_of_any_size(monkeypatch, chunk, indent):
    monkeypatch.setattr(json_list_module, "_CHUNK", chunk)
    for items in (ITEMS, ITEMS[:1], []):
        text = json.dumps(items, indent=indent, ensure_ascii=False)
        assert list(read_list(io.BytesIO(f" {text}\n".encode()))) == items


def test_items_are_there_before_the_list_is_read_to_its_end(monkeypatch):
    monkeypatch.setattr(json_list_module, "_CHUNK", 16)
    file = io.BytesIO(json.dumps([{"n": n} for n in range(10_000)]).encode())
    items = read_list(file)
    assert [next(items) for _ in range(3)] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert file.tell() < file.getbuffer().nbytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "must be a list of detections, begins with ''"),
        (b'{"a": 1}', "must be a list of detections, begins with '{'"),
        (b"[1 2]", "must go on with ',' or ']' after 1 entries, got '2'"),
        (b"[1, 2", "must go on with ',' or ']' after 2 entries, got ''"),
        (b"[1, ]", "entry 1 must be JSON"),
        (b'[{"a": 1', "entry 0 must be JSON"),
        (b"[1] 2", "must end after the list of 1 entries, goes on with '2'"),
        (b"[" * 100_000, "nested too deep"),
        (b"[\xff]", "decode"),
    ],
)
def test_what_is_no_whole_list_is_refused(text, expected):
    with pytest.raises(ValueError, match=r".*") as caught:
        list(read_list(io.BytesIO(text)))
    assert expected in str(caught.value)


def test_an_entry_without_end_is_not_read_to_the_end_of_the_file(monkeypatch):
    monkeypatch.setattr(json_list_module, "_CHUNK", 100)
    monkeypatch.setattr(json_list_module, "_LONGEST_ITEM", 1000)
    file = io.BytesIO(b'["' + b"x" * 100_000)
    with pytest.raises(ValueError, match="entry 0 must be JSON"):
        list(read_list(file))
    assert file.tell() < 2000
