"""A zip file of results → everything in it that COCO's server would refuse, or read wrongly."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from solq_maskcodec import rle_areas
from solq_train.data import CocoFile
from solq_train.data.defects import shown
from solq_train.data.segmentations import is_finite_number, segmentation_fault
from solq_train.json_list import read_list
from solq_train.progress import Show
from solq_train.submission.archive import NAME

MOST_DETECTIONS = 100  # of an image; COCO counts no more
_SHOWN = 20
_SHOW_EVERY = 1000  # detections
_KILOBYTE = 1000


@dataclass
class Problems:
    """What is wrong with an archive, and what it holds."""

    first: list[str] = field(default_factory=list)
    count: int = 0
    detections: int = 0
    images_without: int = 0  # any detection

    def add(self, message: str) -> None:
        """Count a problem, and keep it if it is among the first."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(message)


def _nothing(done: int, total: int, text: str = "") -> None:
    """Shows no progress."""


def check_archive(path: Path, coco: CocoFile, show: Show = _nothing) -> Problems:
    """Every problem of an archive for the images of a file; ValueError if there is no zip file.

    Reads detection by detection, so that memory does not grow with the file. `show` is told the
    kilobytes that are read.
    """
    problems = Problems()
    if NAME.fullmatch(path.stem) is None or path.suffix != ".zip":
        what = "must be called detections_<image set>_<name>_results.zip"
        problems.add(f"{path.name}: {what}")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path, problems)
            for member in archive.infolist()[:1]:
                with archive.open(member) as file:
                    items = _with_progress(read_list(file), file, member.file_size, show)
                    _check_list(items, coco, problems)
    except FileNotFoundError as error:
        msg = f"submission {path}: no such file"
        raise ValueError(msg) from error
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        msg = f"submission {path}: must be a whole zip file, but: {error}"
        raise ValueError(msg) from error
    return problems


def _with_progress(
    items: Iterator[Any], file: IO[bytes], num_bytes: int, show: Show
) -> Iterator[Any]:
    total = num_bytes // _KILOBYTE
    for index, item in enumerate(items):
        done = file.tell() // _KILOBYTE
        if index % _SHOW_EVERY == 0 and done < total:
            show(done, total)
        yield item
    show(total, total)


def _check_members(archive: zipfile.ZipFile, path: Path, problems: Problems) -> None:
    names = archive.namelist()
    expected = f"{path.stem}.json"
    if names != [expected]:
        # The server looks for the file by its name, and in no folder.
        found = ", ".join(names[:5]) or "nothing"
        problems.add(f"{path.name}: must hold {expected} and nothing else, got {found}")


def _check_list(detections: Iterator[Any], coco: CocoFile, problems: Problems) -> None:
    check = _Check(coco)
    try:
        for index, detection in enumerate(detections):
            problems.detections += 1
            problem = check.problem_of(detection)
            if problem is not None:
                problems.add(f"detection {index}: {problem}")
    except ValueError as error:
        problems.add(f"the list {error}")
    for image_id, count in check.counts.items():
        if count > MOST_DETECTIONS:
            what = f"must have at most {MOST_DETECTIONS} detections, got {count}"
            problems.add(f"image {image_id}: {what}")
    problems.images_without = len(coco.images) - len(check.counts)


class _Check:
    """What is known of the images, and of the detections seen so far."""

    def __init__(self, coco: CocoFile) -> None:
        self.counts: Counter[int] = Counter()
        self._sizes = {image.id: (image.height, image.width) for image in coco.images}
        self._categories = {int(category["id"]) for category in coco.categories}
        self._kinds: frozenset[str] | None = None  # of the first detection

    def problem_of(self, detection: Any) -> str | None:
        """What is wrong with a detection; None if nothing is."""
        if not isinstance(detection, dict):
            return f"must be an object, got {shown(detection)}"
        for key in ("image_id", "category_id"):
            if type(detection.get(key)) is not int:
                return f"{key} must be an integer, got {shown(detection.get(key))}"
        image_id, category_id = detection["image_id"], detection["category_id"]
        if image_id not in self._sizes:
            return f"image_id must be an image of the set, got {image_id}"
        self.counts[image_id] += 1
        if category_id not in self._categories:
            return f"category_id must be a category of the set, got {category_id}"
        score: Any = detection.get("score")
        if not is_finite_number(score) or not 0 <= score <= 1:
            return f"score must be a number in 0..1, got {shown(score)}"
        return self._place_problem(detection, self._sizes[image_id])

    def _place_problem(self, detection: dict[str, Any], size: tuple[int, int]) -> str | None:
        kinds = frozenset(detection) & {"bbox", "segmentation"}
        if not kinds:
            return "must have bbox or segmentation, got neither"
        self._kinds = self._kinds or kinds
        if kinds != self._kinds:
            # The server decides by the first detection what all of them are.
            expected, found = (" and ".join(sorted(k)) for k in (self._kinds, kinds))
            return f"must have {expected} as the first one has, got {found}"
        if "bbox" in kinds and (problem := _box_problem(detection["bbox"])) is not None:
            return problem
        return _mask_problem(detection["segmentation"], size) if "segmentation" in kinds else None


def _box_problem(box: Any) -> str | None:
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_finite_number, box)):
        return f"bbox must be four finite numbers [x, y, width, height], got {shown(box)}"
    if min(box[2:]) < 0:
        return f"bbox must have a width and height of at least 0, got {shown(box)}"
    return None


def _mask_problem(segmentation: Any, size: tuple[int, int]) -> str | None:
    if not isinstance(segmentation, dict) or not isinstance(segmentation.get("counts"), str):
        return f"segmentation must be compressed run lengths, got {shown(segmentation)}"
    fault = segmentation_fault(segmentation, size)
    if fault is not None:
        return fault[1]
    try:
        rle_areas([segmentation])
    except ValueError as error:
        return f"segmentation: {error}"
    return None
