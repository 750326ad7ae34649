"""A JSON list that is written item by item."""

from __future__ import annotations

import json

import pytest

from solq_train.json_list import json_list


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
