"""`data.yaml` or `classes.txt` of a YOLO folder → the names of its classes."""

from __future__ import annotations

import re
from pathlib import Path

from solq_train.data.convert.source import read_text, refuse

_FILES = (
    "data.yaml",
    "data.yml",
    "dataset.yaml",
    "dataset.yml",
    "classes.txt",
    "labels/classes.txt",
)
_KEY = re.compile(r"names\s*:(.*)")
_ENTRY = re.compile(r"\s+(\d+)\s*:\s*(.+)|\s*-\s+(.+)")
_FLOW = re.compile(
    r"""\s*(?:(\d+)\s*:\s*)?("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,\[\]{}]*?)\s*(?:,|$)"""
)


def class_names(root: Path) -> list[str]:
    """The names in the order of their numbers; DataError where there are none.

    Of the YAML file only `names` is read, as Ultralytics and Roboflow write it: a list or a map
    from numbers, in one or more lines. Nothing else of YAML is needed, so no library for it.
    """
    candidates = [root / name for name in _FILES]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        expected = "data.yaml with names, or classes.txt with a name a line"
        refuse(root, f"expected the names of the classes in {expected}, found neither")
    if path.suffix == ".txt":
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    else:
        names = _yaml_names(path)
    if not names or not all(names):
        refuse(path, "must name at least one class, and none by nothing")
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        refuse(path, f"every class must have a name of its own, got {doubles[0]!r} twice")
    return names


def _yaml_names(path: Path) -> list[str]:
    lines = [_without_comment(line) for line in read_text(path).splitlines()]
    start = next((index for index, line in enumerate(lines) if _KEY.match(line)), None)
    if start is None:
        refuse(path, "key 'names' is missing")
    match = _KEY.match(lines[start])
    assert match is not None, "found above"
    rest = match[1].strip()
    if rest:
        text = rest
        for line in lines[start + 1 :]:
            if text[-1] in "]}":
                break
            text += " " + line.strip()
        if text[0] + text[-1] not in ("[]", "{}"):
            refuse(path, f"'names' must be a list or a map, got {rest!r:.60}", start + 1)
        found = [(m[1], m[2]) for m in _FLOW.finditer(text[1:-1]) if m[0].strip()]
    else:
        found = []
        for number, line in enumerate(lines[start + 1 :], start=start + 2):
            if not line.strip():
                continue
            entry = _ENTRY.fullmatch(line)
            if entry is None:
                if line[0].isspace():
                    refuse(path, f"must be a class name, got {line.strip()!r:.60}", number)
                break  # the next key
            found.append((entry[1], entry[2] or entry[3]))
    return _in_order(path, [(key, _unquoted(name.strip())) for key, name in found])


def _in_order(path: Path, found: list[tuple[str | None, str]]) -> list[str]:
    if any(key is None for key, _ in found):
        return [name for _, name in found]
    by_number = {int(key): name for key, name in found if key is not None}
    if sorted(by_number) != list(range(len(found))):
        what = f"'names' must be numbered from 0 without gaps, got {sorted(by_number)[:8]}"
        refuse(path, what)
    return [by_number[number] for number in range(len(found))]


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", line).rstrip()


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        quote, text = text[0], text[1:-1]
        return text.replace("''", "'") if quote == "'" else text.replace('\\"', '"')
    return text
