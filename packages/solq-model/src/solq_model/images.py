"""Images as people have them (files, PIL, arrays, tensors) → RGB pictures of 8 bits."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

ImageInput = str | Path | Image.Image | np.ndarray[Any, Any] | Tensor

# What is taken from a folder. A file that is named may be anything that Pillow reads.
IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
# What Pillow's decoders raise on bytes that are cut off, damaged or not an image.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # where warnings are errors
    RuntimeError,  # of AVIF
    TypeError,  # of tags of TIFF files
)
# Floats may miss 0..1 by half a step of 8 bits: rounding, which changes no pixel.
_HALF_STEP = 0.5 / 255


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, told by their endings, sorted by name; ValueError for none.

    Hidden files are left out: some systems keep a `._photo.jpg`, no image, beside `photo.jpg`.
    """
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not files:
        msg = f"images {folder}: expected image files in the folder, found none"
        raise ValueError(msg)
    return files


def open_image(image: ImageInput) -> Image.Image:
    """The image as RGB of 8 bits; a file is turned upright where its camera says so.

    Arrays are `[height, width]` (grey), `[height, width, 3]` or `[height, width, 4]`, tensors
    have the channels first; both are uint8, or floats in 0..1, which are rounded to 8 bits: the
    network was trained on such pixels. Of animations the first frame counts. Alpha is dropped.
    """
    if isinstance(image, (str, Path)):
        return _open_file(Path(image))
    if isinstance(image, Image.Image):
        return _rgb(image)
    if isinstance(image, (Tensor, np.ndarray)):
        return Image.fromarray(_pixels(image)).convert("RGB")
    msg = f"image must be a path, a PIL image, an array or a tensor, got {type(image).__name__}"
    raise ValueError(msg)


def decode_image(
    file: Path | BinaryIO, *, most_pixels: int | None = None, formats: tuple[str, ...] | None = None
) -> Image.Image:
    """The image of a file that is there or of bytes in memory, as `open_image` gives it.

    ValueError for what is not a whole image, none of Pillow's `formats`, or has more pixels than
    `most_pixels` by its header: nothing is decoded then.
    """
    with _decode_errors():
        opened = Image.open(file, formats=formats)
    with opened:
        width, height = opened.size
        if most_pixels is not None and width * height > most_pixels:
            msg = f"must have at most {most_pixels} pixels, got {width} x {height}"
            raise ValueError(msg)
        with _decode_errors():
            picture = ImageOps.exif_transpose(opened)
        picture.format = opened.format
    return _rgb(picture)


@contextmanager
def _decode_errors() -> Iterator[None]:
    try:
        yield
    except _DECODE_ERRORS as error:
        msg = f"not a whole image file ({error})"
        raise ValueError(msg) from error


def to_tensor(picture: Image.Image) -> UInt8[Tensor, "channels height width"]:
    """The pixels of a picture of 8 bits, RGB or grey."""
    pixels = torch.from_numpy(np.array(picture))
    return pixels.permute(2, 0, 1).contiguous() if pixels.ndim == 3 else pixels[None]


def to_picture(pixels: UInt8[Tensor, "3 height width"]) -> Image.Image:
    """The RGB picture of these pixels."""
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def _open_file(path: Path) -> Image.Image:
    if not path.exists():
        msg = f"image {path}: no such file"
        raise ValueError(msg)
    if path.is_dir():
        msg = f"image {path}: expected an image file, found a folder"
        raise ValueError(msg)
    try:
        return decode_image(path)
    except ValueError as error:
        msg = f"image {path}: {error}"
        raise ValueError(msg) from error


def _rgb(picture: Image.Image) -> Image.Image:
    """The picture as RGB, where Pillow alone would cut all values of deep pictures at 255."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        # PNG's 16 bits reach to 65535; Pillow before 11.3 opens them as "I".
        values = np.asarray(picture).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        return Image.fromarray(_bytes_of_floats(np.asarray(picture))).convert("RGB")
    if picture.mode == "I":
        msg = "image must have 8 or 16 bits per channel, got 32 (Pillow's mode I)"
        raise ValueError(msg)
    if "transparency" in picture.info and picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA")  # straight to RGB, Pillow warns
    return picture.convert("RGB")


def _pixels(image: np.ndarray[Any, Any] | Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Contiguous uint8 `[height, width]` or `[height, width, 3]`."""
    is_tensor = isinstance(image, Tensor)
    kind = "a tensor [3, height, width]" if is_tensor else "an array [height, width, 3]"
    shape = tuple(image.shape)
    channels = 1 if len(shape) == 2 else shape[0 if is_tensor else -1] if len(shape) == 3 else 0
    if channels not in (1, 3, 4):
        hint = "; a batch is given as a list of images" if len(shape) == 4 else ""
        msg = f"image must be {kind}, or with 1 or 4 channels, got shape {shape}{hint}"
        raise ValueError(msg)
    if 0 in shape:
        msg = f"image must have at least one pixel, got shape {shape}"
        raise ValueError(msg)
    pixels = _channels_last(image) if isinstance(image, Tensor) else image
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if channels == 1 else pixels[..., :3]
    if pixels.dtype.kind == "f":
        pixels = _bytes_of_floats(pixels)
    if pixels.dtype != np.uint8:
        msg = f"image must be uint8 in 0..255 or floats in 0..1, got {image.dtype}"
        raise ValueError(msg)
    return np.ascontiguousarray(pixels)


def _channels_last(image: Tensor) -> np.ndarray[Any, Any]:
    image = image.detach().cpu()
    image = image.permute(1, 2, 0) if image.ndim == 3 else image
    return (image.float() if image.dtype == torch.bfloat16 else image).numpy()  # NumPy has none


def _bytes_of_floats(values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    lowest, highest = float(values.min()), float(values.max())
    # NaN fails the comparison too.
    if not (lowest >= -_HALF_STEP and highest <= 1 + _HALF_STEP):
        hint = " (normalised already? prediction does that itself)" if lowest < 0 else ""
        msg = (
            "image must be floats in 0..1 or uint8 in 0..255, "
            f"got floats from {lowest:g} to {highest:g}{hint}"
        )
        raise ValueError(msg)
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)
