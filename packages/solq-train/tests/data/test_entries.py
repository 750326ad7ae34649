"""Sections of an annotation file: every key of every entry checked."""

from __future__ import annotations

from typing import Any

import pytest

from solq_train.data.defects import Defect, DefectKind
from solq_train.data.entries import Section

IMAGE = {"id": 4, "file_name": "a.png", "height": 3, "width": 5}


def check(name: str, *entries: Any) -> tuple[Section, list[Defect]]:
    defects: list[Defect] = []
    return Section({name: list(entries)}, name, defects.append), defects


def test_sound_entries_are_found_by_id() -> None:
    section, defects = check("images", IMAGE, {**IMAGE, "id": 9})
    assert list(section.sound) == [4, 9]
    assert not defects


def test_ids_may_have_gaps_be_zero_or_negative() -> None:
    section, defects = check("images", {**IMAGE, "id": 0}, {**IMAGE, "id": -5})
    assert list(section.sound) == [0, -5]
    assert not defects


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"id": "4"}, DefectKind.WRONG_VALUE, "'id' must be an integer, got '4'"),
        ({"id": True}, DefectKind.WRONG_VALUE, "'id' must be an integer, got True"),
        ({"height": 0}, DefectKind.WRONG_VALUE, "'height' must be an integer of at least 1, got 0"),
        ({"height": 2**31}, DefectKind.WRONG_VALUE, "'height' must be at most 2147483647"),
        ({"width": 5.0}, DefectKind.WRONG_VALUE, "'width' must be an integer"),
        ({"file_name": ""}, DefectKind.WRONG_VALUE, "'file_name' must be the name of a file"),
        ({"file_name": 3}, DefectKind.WRONG_VALUE, "got 3"),
        ({"file_name": "/etc/a.png"}, DefectKind.OUTSIDE_FOLDER, "inside the image folder"),
        ({"file_name": ".."}, DefectKind.OUTSIDE_FOLDER, "got '..'"),
        ({"file_name": "C:\\a.png"}, DefectKind.OUTSIDE_FOLDER, "inside the image folder"),
        ({"file_name": "c:a.png"}, DefectKind.OUTSIDE_FOLDER, "got 'c:a.png'"),
        ({"file_name": "\\\\host\\a.png"}, DefectKind.OUTSIDE_FOLDER, "inside the image folder"),
        ({"file_name": "x\\..\\..\\a.png"}, DefectKind.OUTSIDE_FOLDER, "inside the image folder"),
        ({"file_name": "x/../../a.png"}, DefectKind.OUTSIDE_FOLDER, "got 'x/../../a.png'"),
    ],
)
def test_image_faults_name_key_expected_and_got(
    change: dict[str, Any], kind: DefectKind, words: str
) -> None:
    section, defects = check("images", {**IMAGE, **change})
    assert [defect.kind for defect in defects] == [kind]
    assert words in defects[0].message
    assert "images[0]" in defects[0].message
    assert not section.sound


def test_file_in_a_folder_below_is_sound() -> None:
    section, _ = check("images", {**IMAGE, "file_name": "sub/a..b.png"})
    assert 4 in section.sound


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"bbox": [1, 2, 3]}, DefectKind.WRONG_VALUE, "four numbers"),
        ({"bbox": [1, 2, "3", 4]}, DefectKind.WRONG_VALUE, "'bbox' must be a number, got '3'"),
        ({"bbox": [1, 2, float("nan"), 4]}, DefectKind.NOT_FINITE, "got nan"),
        ({"bbox": [1, 2, 10**400, 4]}, DefectKind.NOT_FINITE, "'bbox' must be finite"),
        ({"area": None}, DefectKind.WRONG_VALUE, "'area' must be a number, got None"),
        ({"iscrowd": "no"}, DefectKind.WRONG_VALUE, "'iscrowd' must be 0 or 1, got 'no'"),
    ],
)
def test_annotation_faults_name_key_expected_and_got(
    change: dict[str, Any], kind: DefectKind, words: str
) -> None:
    entry = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [0, 0, 1, 1],
        "area": 1,
        "segmentation": [],
    }
    section, defects = check("annotations", {**entry, **change})
    assert [defect.kind for defect in defects] == [kind]
    assert words in defects[0].what
    assert not section.sound


@pytest.mark.parametrize("key", ["file_name", "height", "width"])
def test_missing_key_is_named(key: str) -> None:
    section, defects = check("images", {k: v for k, v in IMAGE.items() if k != key})
    assert [defect.message for defect in defects] == [f"images[0] (id 4): key '{key}' is missing"]
    assert 4 in section.places
    assert 4 not in section.sound


def test_entry_without_id_is_named_by_its_index() -> None:
    _, defects = check("categories", {"id": 1, "name": "a"}, {"name": "b"})
    assert [defect.message for defect in defects] == ["categories[1]: key 'id' is missing"]


def test_duplicate_id_names_both_entries() -> None:
    section, defects = check("images", IMAGE, {**IMAGE, "file_name": "b.png"})
    assert [defect.kind for defect in defects] == [DefectKind.DUPLICATE_ID]
    assert "images[1] (id 4)" in defects[0].message
    assert "images[0] (id 4)" in defects[0].message
    assert section.sound[4]["file_name"] == "a.png"


def test_entry_that_is_no_object_is_refused() -> None:
    _, defects = check("images", [1, 2])
    assert "images[0]: must be an object, got [1, 2]" in defects[0].message


@pytest.mark.parametrize("document", [{}, {"images": None}, {"images": {"id": 1}}])
def test_section_missing_or_no_list_is_one_defect(document: dict[str, Any]) -> None:
    defects: list[Defect] = []
    section = Section(document, "images", defects.append)
    assert len(defects) == 1
    assert "'images'" in defects[0].message
    assert not section.is_list
