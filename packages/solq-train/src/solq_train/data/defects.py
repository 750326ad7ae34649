"""What can be wrong with a data set: every kind of defect, how grave it is and what follows."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Severity = Literal["error", "warning", "note"]


class DataError(ValueError):
    """A data set that cannot be used: the file, the entry in it, what was expected, what came."""


class DefectKind(Enum):
    """Each kind with its severity and what training does about it."""

    NO_FILE = ("no annotation file", "error", "stops")
    INVALID_JSON = ("invalid JSON", "error", "stops")
    MISSING_KEY = ("missing key", "error", "stops")
    WRONG_VALUE = ("wrong type or value", "error", "stops")
    NOT_FINITE = ("number not finite", "error", "stops")
    DUPLICATE_ID = ("duplicate id", "error", "stops")
    UNKNOWN_IMAGE = ("unknown image", "error", "stops")
    UNKNOWN_CATEGORY = ("unknown category", "error", "stops")
    NO_IMAGES = ("no images", "error", "stops")
    OUTSIDE_FOLDER = ("file name leads out of the folder", "error", "stops")
    BAD_POLYGON = ("empty or broken polygon", "error", "stops")
    RLE_SIZE = ("RLE of the wrong size", "error", "stops")
    RLE_CORRUPT = ("corrupt RLE", "error", "stops")
    IMAGE_MISSING = ("missing image file", "error", "stops")
    IMAGE_UNREADABLE = ("truncated or not an image", "error", "stops")
    IMAGE_SIZE = ("image size differs from the record", "error", "stops")
    ZERO_AREA_BOX = ("box without area", "error", "leaves the object out")
    BOX_OUTSIDE = ("box outside the image", "error", "clips the box or leaves the object out")
    EMPTY_MASK = ("mask without a pixel", "warning", "keeps the box")
    FLAT_POLYGON = ("polygon without area", "warning", "draws nothing for this part")
    MASK_OUTSIDE = ("mask reaches outside the image", "warning", "cuts it off at the border")
    BOX_MISMATCH = ("box and mask disagree", "warning", "learns the mask inside the box only")
    AREA_MISMATCH = ("area differs from the mask's", "warning", "ignores it; evaluation does not")
    NEAR_DUPLICATE = ("object annotated twice", "warning", "learns it twice")
    DUPLICATE_FILE = ("image file recorded twice", "warning", "shows it twice")
    DUPLICATE_IMAGE = ("same picture under two names", "warning", "shows it twice")
    LEAKED_IMAGE = ("same picture in two splits", "warning", "learns what evaluation asks")
    DUPLICATE_NAME = ("category name used twice", "warning", "keeps two classes")
    CROWD = ("crowd region", "note", "leaves it out; evaluation keeps it")
    CROWD_POLYGON = ("crowd region as polygons", "note", "leaves it out; COCO has run lengths here")
    NO_ANNOTATIONS = ("image without annotations", "note", "keeps the empty image")
    UNUSED_CATEGORY = ("category without instances", "note", "keeps its class slot")
    EXTRA_IMAGE = ("image file without a record", "note", "leaves it out")

    def __init__(self, title: str, severity: Severity, in_training: str) -> None:
        self.title = title
        self.severity = severity
        self.in_training = in_training


@dataclass(frozen=True)
class Defect:
    """One thing wrong with a data set."""

    kind: DefectKind
    where: str  # the entry of the file; "" for all of it
    what: str  # what was expected there and what came
    image_id: int | None = None  # for a picture of it, if the image is known
    annotation_ids: tuple[int, ...] = ()

    @property
    def message(self) -> str:
        """The entry and what is wrong with it, in one line."""
        return f"{self.where}: {self.what}" if self.where else self.what


Report = Callable[[Defect], None]
Fault = tuple[DefectKind, str]


def shown(value: object) -> str:
    """A value as it stands in a message: its repr, shortened in the middle if long."""
    return _short.repr(value)


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60
_short.maxlist = _short.maxdict = 6
