"""Detections, one a line of JSON → the zip file that COCO's server takes."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from solq_model.atomic import atomic_file

Kind = Literal["both", "bbox", "segm"]
_LEFT_OUT: dict[Kind, str | None] = {"both": None, "bbox": "segmentation", "segm": "bbox"}

# COCO: detections_[testset]_[alg]_results; the underscore divides the name's parts.
NAME = re.compile(r"detections_[A-Za-z0-9.-]+_[A-Za-z0-9.-]+_results")
_PART = re.compile(r"[A-Za-z0-9.-]+")


def archive_name(image_set: str, algorithm: str) -> str:
    """What COCO's server wants file and archive to be called, without their endings."""
    for name, value in (("image_set", image_set), ("name", algorithm)):
        if not _PART.fullmatch(value):
            msg = f"{name} must be letters, digits, dots and hyphens, got {value!r}"
            raise ValueError(msg)
    return f"detections_{image_set}_{algorithm}_results"


def image_set_of(path: Path) -> str:
    """The image set a file of COCO is about: `image_info_test-dev2017.json` is of test-dev2017."""
    return re.sub(r"^(image_info|instances)_", "", path.stem)


def write_archive(path: Path, lines: Iterable[str], *, kind: Kind, size: int) -> int:
    """Write the zip file with one list of all detections; how many there are.

    The same detections give the same bytes. `size` is at least the length of all lines: beyond
    2 GiB an archive has another format.
    """
    # The first time there is in a zip file, in place of the time of writing.
    info = zipfile.ZipInfo(f"{path.stem}.json", date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system, info.external_attr = 3, 0o644 << 16  # as on Unix, wherever it is made
    info.file_size = size
    count = 0
    with (
        atomic_file(path) as temporary,
        zipfile.ZipFile(temporary, "w") as archive,
        archive.open(info, "w") as file,
    ):
        for line in lines:
            file.write(b",\n" if count else b"[")
            file.write(_of_kind(line, kind).encode())
            count += 1
        file.write(b"]\n" if count else b"[]\n")
    return count


def _of_kind(line: str, kind: Kind) -> str:
    key = _LEFT_OUT[kind]
    if key is None:
        return line
    detection = json.loads(line)
    detection.pop(key, None)
    return json.dumps(detection, separators=(",", ":"))
