"""The page of a check: all kinds, pictures of the objects, nothing from outside."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from solq_train.data.check import check_splits
from solq_train.data.layout import Split
from solq_train.data.page import write_page


@pytest.fixture
def page(small_set: Any) -> str:
    """Of a set with a wrong box, a file name that could be markup, and a category as well."""
    small_set.document["annotations"][0]["bbox"] = [12, 3, 10, 8]
    small_set.document["images"][1]["file_name"] = "<b>.png"
    small_set.document["categories"].append({"id": 9, "name": "<script>alert(1)</script>"})
    split = Split(annotations=small_set.save(), images=small_set.images)
    reports = check_splits([split], quality_objects=10)
    path = small_set.folder / "check.html"
    write_page(path, reports, title="Check of <it>")
    return path.read_text(encoding="utf-8")


def test_each_kind_has_a_button_and_its_examples(page: str) -> None:
    buttons = re.findall(r'<button type="button" data-kind="(\w*)"', page)
    articles = re.findall(r'<article class="card kind" data-kind="(\w+)"', page)
    assert buttons == ["", *articles]
    assert {"BOX_MISMATCH", "IMAGE_MISSING", "CROWD", "UNUSED_CATEGORY"} <= set(articles)
    assert "annotation id 1: &#39;bbox&#39; must be that of the mask" in page


def test_the_ceiling_is_on_the_page(page: str) -> None:
    assert "What 256 coefficients keep of these masks" in page
    assert "mask AP ceiling" in page


def test_names_from_the_data_are_text_and_no_markup(page: str) -> None:
    assert "<script>alert" not in page
    assert "<b>.png" not in page
    assert "Check of &lt;it&gt;" in page


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "http" not in page


def test_objects_are_shown_close_up(page: str) -> None:
    data = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(data) == 2, "the wrong box and the crowd"
    for encoded in data:
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
            assert max(picture.size) <= 440


def test_a_file_that_cannot_be_read_has_a_page_too(tmp_path: Path) -> None:
    reports = check_splits([Split(annotations=tmp_path / "gone.json", images=tmp_path)])
    write_page(tmp_path / "check.html", reports, title="Check")
    assert "no annotation file: 1" in (tmp_path / "check.html").read_text(encoding="utf-8")
