"""Names of classes, in every way that YOLO's tools write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from solq_train.data.convert.yolo_names import class_names
from solq_train.data.defects import DataError


@pytest.mark.parametrize(
    "text",
    [
        "names: [cat, 'fire, hydrant', \"dog's\"]\nnc: 3\n",
        "path: .\nnames:\n  - cat\n  - 'fire, hydrant'\n  - dog's\nroboflow:\n  url: x\n",
        "names:\n- cat # the first\n\n- fire, hydrant\n- dog's\nnc: 3\n",
        "names:\n  1: fire, hydrant\n  0: cat\n  2: dog's\n",
        "names: {0: cat, 1: 'fire, hydrant', 2: dog's}\n",
        "names: [cat,\n  'fire, hydrant',\n  dog's]\n",
        "\ufeff# comment\nnames: ['cat', 'fire, hydrant', 'dog''s']",
    ],
)
def test_names_are_read_from_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    assert class_names(tmp_path) == ["cat", "fire, hydrant", "dog's"]


def test_names_are_read_from_a_list(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\ndining table\n\n")
    assert class_names(tmp_path) == ["cat", "dining table"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nc: 3\n", "key 'names' is missing"),
        ("names: cat\n", "line 1: 'names' must be a list or a map, got 'cat'"),
        ("names:\n  - cat\n  ? dog\n", "line 3: must be a class name, got '. dog'"),
        ("names: {0: cat, 2: dog}\n", r"numbered from 0 without gaps, got \[0, 2\]"),
        ("names: []\n", "at least one class"),
        ("names: [cat, dog, cat]\n", "a name of its own, got 'cat' twice"),
    ],
)
def test_names_that_cannot_be_used_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=rf"data\.yaml.*{words}"):
        class_names(tmp_path)


def test_a_folder_without_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the names .*data\.yaml .*classes\.txt"):
        class_names(tmp_path)
