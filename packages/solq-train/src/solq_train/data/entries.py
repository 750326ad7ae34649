"""One list of an annotation file → its sound entries, with every key of every entry checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from solq_train.data.defects import Defect, DefectKind, Fault, Report, shown
from solq_train.data.segmentations import is_finite_number

Check = Callable[[str, Any], Fault | None]  # key and value → what is wrong


class Section:
    """The entries of one list of the file, checked one by one.

    `sound` has the faultless entries by id, `places` the words that name each id's entry; `places`
    knows defective entries too, so that what points to them is not called unknown as well.
    """

    def __init__(self, document: Mapping[str, Any], name: str, report: Report) -> None:
        self.sound: dict[int, dict[str, Any]] = {}
        self.places: dict[int, str] = {}
        entries = document.get(name)
        self.is_list = isinstance(entries, list)
        if name not in document:
            report(Defect(DefectKind.MISSING_KEY, "top level", f"key '{name}' is missing"))
        elif not isinstance(entries, list):
            what = f"must be a list, got {shown(entries)}"
            report(Defect(DefectKind.WRONG_VALUE, f"'{name}'", what))
        else:
            for index, entry in enumerate(entries):
                self._take(f"{name}[{index}]", entry, _CHECKS[name], report)

    def _take(self, where: str, entry: object, checks: Mapping[str, Check], report: Report) -> None:
        if not isinstance(entry, dict):
            report(Defect(DefectKind.WRONG_VALUE, where, f"must be an object, got {shown(entry)}"))
            return
        has_id = _integer("id", entry.get("id")) is None
        if has_id:
            where = f"{where} (id {entry['id']})"
        faults = _entry_faults(entry, checks)
        for kind, what in faults:
            report(Defect(kind, where, what))
        if not has_id:
            return
        if entry["id"] in self.places:
            what = f"'id' must be its own, but {self.places[entry['id']]} has it already"
            report(Defect(DefectKind.DUPLICATE_ID, where, what))
            return
        self.places[entry["id"]] = where
        if not faults:
            self.sound[entry["id"]] = entry


def _entry_faults(entry: dict[str, Any], checks: Mapping[str, Check]) -> list[Fault]:
    faults: list[Fault] = []
    for key, check in checks.items():
        if key in entry:
            fault = check(key, entry[key])
            if fault is not None:
                faults.append(fault)
        elif key not in _OPTIONAL_KEYS:
            faults.append((DefectKind.MISSING_KEY, f"key '{key}' is missing"))
    return faults


def _integer(key: str, value: object) -> Fault | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return None
    return DefectKind.WRONG_VALUE, f"'{key}' must be an integer, got {shown(value)}"


def _side(key: str, value: object) -> Fault | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return None
    return DefectKind.WRONG_VALUE, f"'{key}' must be an integer of at least 1, got {shown(value)}"


def _text(key: str, value: object) -> Fault | None:
    if isinstance(value, str):
        return None
    return DefectKind.WRONG_VALUE, f"'{key}' must be a string, got {shown(value)}"


def _file_name(key: str, value: object) -> Fault | None:
    if not isinstance(value, str) or not value or "\0" in value:
        return DefectKind.WRONG_VALUE, f"'{key}' must be the name of a file, got {shown(value)}"
    name = PurePath(value)
    if name.anchor or ".." in name.parts:
        what = f"'{key}' must be a path inside the image folder, got {shown(value)}"
        return DefectKind.OUTSIDE_FOLDER, what
    return None


def _box(key: str, value: object) -> Fault | None:
    if not isinstance(value, list) or len(value) != 4:
        what = f"'{key}' must be four numbers [x, y, width, height], got {shown(value)}"
        return DefectKind.WRONG_VALUE, what
    return next((fault for side in value if (fault := _number(key, side)) is not None), None)


def _number(key: str, value: object) -> Fault | None:
    if is_finite_number(value):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return DefectKind.NOT_FINITE, f"'{key}' must be finite, got {shown(value)}"
    return DefectKind.WRONG_VALUE, f"'{key}' must be a number, got {shown(value)}"


def _flag(key: str, value: object) -> Fault | None:
    if value in (0, 1):
        return None
    return DefectKind.WRONG_VALUE, f"'{key}' must be 0 or 1, got {shown(value)}"


def _anything(_key: str, _value: object) -> Fault | None:
    return None


_CHECKS: dict[str, dict[str, Check]] = {
    "images": {"id": _integer, "file_name": _file_name, "height": _side, "width": _side},
    "categories": {"id": _integer, "name": _text},
    "annotations": {
        "id": _integer,
        "image_id": _integer,
        "category_id": _integer,
        "bbox": _box,
        "area": _number,
        "iscrowd": _flag,
        # Whether it fits its image is for `segmentations` to say.
        "segmentation": _anything,
    },
}
_OPTIONAL_KEYS = {"iscrowd"}  # many files without crowds leave it out; published code reads it as 0
