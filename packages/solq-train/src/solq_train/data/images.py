"""Image file → picture in RGB, or a clear word on why there is none."""

from __future__ import annotations

import struct
from pathlib import Path

from PIL import Image

from solq_train.data.coco import CocoImage
from solq_train.data.defects import DataError, DefectKind, Fault, shown
from solq_train.data.entries import leads_outside

# What Pillow's decoders raise on bytes that are cut off, damaged or not an image.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
# Pillow converts these to RGB by cutting every value above 255, which whitens the picture.
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def load_image(folder: Path, record: CocoImage) -> Image.Image:
    """The picture of a record in RGB; DataError if the file is missing, broken or of another size.

    A turn noted in the file's EXIF data is not carried out, as in the published code.
    """
    picture, fault = try_load_image(folder, record)
    if picture is None or fault is not None:
        assert fault is not None, "no picture without a reason"
        msg = f"{folder / record.file_name}: {fault[1]}"
        raise DataError(msg)
    return picture


def try_load_image(folder: Path, record: CocoImage) -> tuple[Image.Image | None, Fault | None]:
    """The picture if it can be decoded, and what is wrong with it if something is."""
    path = folder / record.file_name
    fault = path_fault(folder, record.file_name)
    if fault is not None:
        return None, fault
    try:
        with Image.open(path) as image:
            if image.mode in _DEEP_MODES:
                what = f"must have 8 bits per channel, got Pillow's mode {image.mode}"
                return None, (DefectKind.IMAGE_UNREADABLE, what)
            picture = image.convert("RGB")
    except DECODE_ERRORS as error:
        what = f"must be a whole image file, but: {error}"
        return None, (DefectKind.IMAGE_UNREADABLE, what)
    return picture, _size_fault(picture, record)


def path_fault(folder: Path, file_name: str) -> Fault | None:
    """Why a file name gives no image file inside the folder; None if it does.

    Links inside the folder are followed, those that lead out of it are not.
    """
    path = folder / file_name
    if leads_outside(file_name) or _is_linked_outside(folder, path):
        what = f"must lie inside the image folder, got {shown(file_name)}"
        return DefectKind.OUTSIDE_FOLDER, what
    if not path.is_file():
        return DefectKind.IMAGE_MISSING, "no such image file"
    return None


def _is_linked_outside(folder: Path, path: Path) -> bool:
    # Resolving takes far longer than to see that there is nothing to resolve.
    depth = len(path.parts) - len(folder.parts)
    if not any(part.is_symlink() for part in (path, *path.parents)[:depth]):
        return False
    return not path.resolve().is_relative_to(folder.resolve())


def _size_fault(picture: Image.Image, record: CocoImage) -> Fault | None:
    if picture.size == (record.width, record.height):
        return None
    what = (
        f"must be {record.width} x {record.height} pixels wide and high as in the record of image "
        f"id {record.id}, got {picture.width} x {picture.height}"
    )
    if picture.size == (record.height, record.width):
        what += " (exchanged: was it annotated after a turn by its EXIF data?)"
    return DefectKind.IMAGE_SIZE, what
