"""The bytes of an upload → a picture, within bounds that hold before anything is decoded."""

from __future__ import annotations

import io
import warnings
from functools import cache

from PIL import Image

from solq_model.images import decode_image

# What cameras, browsers and annotation tools write. Pillow opens more, EPS by starting another
# program on it.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def open_upload(data: bytes, most_pixels: int) -> Image.Image:
    """The picture as RGB of 8 bits, upright; ValueError with the reason where there is none.

    Call it from one thread only: how warnings are treated belongs to all of them.
    """
    if not data:
        msg = "image: expected the bytes of an image file, got none"
        raise ValueError(msg)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)  # of damaged metadata beside good pixels
        try:
            return decode_image(io.BytesIO(data), most_pixels=most_pixels, formats=known_formats())
        except ValueError as error:
            msg = f"image: {error}"
            raise ValueError(msg) from error


@cache
def known_formats() -> tuple[str, ...]:
    """Those that this Pillow knows: AVIF came late, and not everywhere."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
