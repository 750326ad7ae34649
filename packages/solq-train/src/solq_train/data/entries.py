"""One list of an annotation file → its sound entries, with every key of every entry checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from solq_train.data.defects import Defect, DefectKind, Fault, Report, shown
from solq_train.data.segmentations import is_finite_number

Check = Callable[[str, Any], Fault | None]  # key and value → what is wrong


class Section:
    """The entries of one list of the file, checked one by one.

    `sound` has the faultless entries by id, `places` the index of each id's entry; `places` knows
    defective entries too, so that what points to them is not called unknown as well.
    """

    def __init__(self, document: Mapping[str, Any], name: str, report: Report) -> None:
        self.sound: dict[int, dict[str, Any]] = {}
        self.places: dict[int, int] = {}
        self._name = name
        entries = document.get(name)
        self.is_list = isinstance(entries, list)
        if name not in document:
            report(Defect(DefectKind.MISSING_KEY, "top level", f"key '{name}' is missing"))
        elif not isinstance(entries, list):
            what = f"must be a list, got {shown(entries)}"
            report(Defect(DefectKind.WRONG_VALUE, f"'{name}'", what))
        else:
            for index, entry in enumerate(entries):
                self._take(index, entry, _CHECKS[name], report)

    def where(self, entry_id: int) -> str:
        """The words that name the entry of an id in messages."""
        return f"{self._name}[{self.places[entry_id]}] (id {entry_id})"

    def _take(self, index: int, entry: object, checks: Mapping[str, Check], report: Report) -> None:
        if not isinstance(entry, dict):
            where = f"{self._name}[{index}]"
            report(Defect(DefectKind.WRONG_VALUE, where, f"must be an object, got {shown(entry)}"))
            return
        number = entry.get("id")
        has_id = _integer("id", number) is None
        faults = _entry_faults(entry, checks)
        for kind, what in faults:
            report(Defect(kind, self._name_of(index, entry), what))
        if not has_id:
            return
        if number in self.places:
            what = f"'id' must be its own, but {self.where(entry['id'])} has it already"
            report(Defect(DefectKind.DUPLICATE_ID, self._name_of(index, entry), what))
            return
        self.places[entry["id"]] = index
        if not faults:
            self.sound[entry["id"]] = entry

    def _name_of(self, index: int, entry: dict[str, Any]) -> str:
        has_id = _integer("id", entry.get("id")) is None
        return f"{self._name}[{index}]" + (f" (id {entry['id']})" if has_id else "")


_SPECIAL = frozenset("/\\:")  # names without any of these are plain, on every system


def leads_outside(name: str) -> bool:
    """Whether a path from a file is absolute, names a drive or goes up, on any system.

    A data set is made on one system and read on another.
    """
    if name != ".." and _SPECIAL.isdisjoint(name):
        return False
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return any(path.anchor or ".." in path.parts for path in paths)


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
    if type(value) is int:  # True and False are none
        return None
    return DefectKind.WRONG_VALUE, f"'{key}' must be an integer, got {shown(value)}"


LONGEST_SIDE = 2**31 - 1  # pixels; the product of two still fits into 64 bits


def _side(key: str, value: object) -> Fault | None:
    if type(value) is int and value >= 1:
        if value <= LONGEST_SIDE:
            return None
        return (
            DefectKind.WRONG_VALUE,
            f"'{key}' must be at most {LONGEST_SIDE}, got {shown(value)}",
        )
    return DefectKind.WRONG_VALUE, f"'{key}' must be an integer of at least 1, got {shown(value)}"


def _text(key: str, value: object) -> Fault | None:
    if isinstance(value, str):
        return None
    return DefectKind.WRONG_VALUE, f"'{key}' must be a string, got {shown(value)}"


def is_file_name(name: str) -> bool:
    """Whether a name can be one of a file inside the image folder."""
    return bool(name) and "\0" not in name and not leads_outside(name)


def _file_name(key: str, value: object) -> Fault | None:
    if not isinstance(value, str) or not value or "\0" in value:
        return DefectKind.WRONG_VALUE, f"'{key}' must be the name of a file, got {shown(value)}"
    if leads_outside(value):
        what = f"'{key}' must be a path inside the image folder, got {shown(value)}"
        return DefectKind.OUTSIDE_FOLDER, what
    return None


def _box(key: str, value: object) -> Fault | None:
    if not isinstance(value, list) or len(value) != 4:
        what = f"'{key}' must be four numbers [x, y, width, height], got {shown(value)}"
        return DefectKind.WRONG_VALUE, what
    if all(map(is_finite_number, value)):
        return None
    return next(fault for side in value if (fault := _number(key, side)) is not None)


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
