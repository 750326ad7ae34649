"""What every annotation format is read into: images with objects, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from PIL import Image

from solq_train.data.defects import DataError
from solq_train.data.images import DECODE_ERRORS
from solq_train.data.segmentations import Segmentation

Format = Literal["yolo", "voc", "labelme"]

_ORIENTATION = 0x0112  # EXIF's tag for how a picture is to be turned


@dataclass(frozen=True, kw_only=True)
class SourceObject:
    """One object: its category, and its polygons in pixels or its run lengths."""

    category: str
    segmentation: Segmentation


@dataclass(frozen=True, kw_only=True)
class SourceImage:
    """One image with all its objects, as its format has them."""

    path: Path
    name: str  # relative, with "/": where it goes below the folder of its split
    size: tuple[int, int]  # height, width, upright
    objects: tuple[SourceObject, ...]


@dataclass(kw_only=True)
class Source:
    """All that was found in a folder. Images under "" belong to no split yet."""

    category_ids: Mapping[str, int]  # by name
    images: dict[str, list[SourceImage]] = field(default_factory=dict)  # by split
    left_out: Counter[str] = field(default_factory=Counter)  # by what and why

    def add(self, split: str, image: SourceImage) -> None:
        """Takes an image into a split."""
        self.images.setdefault(split, []).append(image)


def refuse(path: Path, what: str, line: int | None = None) -> NoReturn:
    """Raises DataError with the name of the file, and the line where there is one."""
    place = "" if line is None else f" line {line}"
    msg = f"{path}{place}: {what}"
    raise DataError(msg)


def read_text(path: Path) -> str:
    """The text of a file; DataError if it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        refuse(path, f"must be a text file in UTF-8, but: {error}")


def inside(root: Path, path: Path) -> bool:
    """Whether a path ends inside a folder, links followed."""
    return path.resolve().is_relative_to(root.resolve())


def image_files(folder: Path) -> list[Path]:
    """All image files below a folder, by name."""
    known = Image.registered_extensions()
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in known)


def upright_size(path: Path) -> tuple[int, int]:
    """The (height, width) of a picture after the turn that its EXIF data ask for."""
    with opened(path) as picture:
        width, height = picture.size
        on_its_side = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        return (width, height) if on_its_side else (height, width)


def is_turned(path: Path) -> bool:
    """Whether EXIF data ask for a turn; annotation tools show the picture after it."""
    with opened(path) as picture:
        return bool(picture.getexif().get(_ORIENTATION, 1) != 1)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The picture of a file; DataError where it is none, or turns out to be broken in use."""
    try:
        with Image.open(path) as picture:
            yield picture
    except DataError:
        raise
    except DECODE_ERRORS as error:
        refuse(path, f"must be a whole image file, but: {error}")


def polygon(points: Any) -> list[float]:
    """Points [points, 2] as COCO's x, y, x, y, … in hundredths of a pixel."""
    return [round(float(value), 2) for point in points for value in point]
