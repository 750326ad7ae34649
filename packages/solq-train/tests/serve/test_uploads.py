"""Bytes become a picture, or a reason why not, before anything large is made of them."""

from __future__ import annotations

import io
import tracemalloc
from random import Random

import pytest
from PIL import Image

from solq_train.serve.uploads import FORMATS, known_formats, open_upload


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


RED = Image.new("RGB", (4, 2), (255, 0, 0))


@pytest.mark.parametrize(
    ("picture", "kind", "options"),
    [
        (RED, "JPEG", {}),
        (RED, "WEBP", {"lossless": True}),
        (RED, "BMP", {}),
        (RED, "TIFF", {}),
        (RED.convert("RGBA"), "PNG", {}),
        (RED.convert("P"), "GIF", {}),
        (RED.convert("CMYK"), "JPEG", {}),
        (RED.convert("1"), "PNG", {}),
        (Image.new("I;16", (4, 2), 65535), "PNG", {}),
        (RED, "GIF", {"save_all": True, "append_images": [Image.new("RGB", (4, 2))]}),
    ],
    ids=["jpeg", "webp", "bmp", "tiff", "alpha", "palette", "cmyk", "bits", "deep", "animated"],
)
def test_images_of_any_usual_kind_are_rgb(picture, kind, options):
    opened = open_upload(encoded(picture, kind, **options), 8)
    assert (opened.mode, opened.size) == ("RGB", (4, 2))
    assert opened.getpixel((0, 0))[0] > 250 or kind == "PNG"


def test_a_photograph_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    assert open_upload(encoded(RED, "JPEG", exif=exif), 8).size == (2, 4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing", "expected the bytes of an image file, got none"),
        ("text", "not a whole image file"),
        ("half", "not a whole image file"),
        ("header", "not a whole image file"),
        ("zeros", "not a whole image file"),
        ("bomb", "not a whole image file .*decompression bomb"),
        ("wide", "must have at most 250000 pixels, got 250001 x 1"),
        ("postscript", "not a whole image file"),
        ("deep", "8 or 16 bits per channel, got 32"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(malformed, name, reason):
    with pytest.raises(ValueError, match=f"image: .*{reason}"):
        open_upload(malformed[name], 250_000)


def test_a_picture_between_pillows_limits_is_refused_too(malformed, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)  # from here on Pillow warns
    with pytest.raises(ValueError, match="decompression bomb"):
        open_upload(malformed["wide"], 250_000)


def test_no_memory_is_taken_for_a_picture_that_is_refused():
    bits = encoded(Image.new("1", (30_000, 2_000)), "PNG")
    assert len(bits) < 20_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="at most 50000000 pixels, got 30000 x 2000"):
        open_upload(bits, 50_000_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_pictures_or_refused_and_nothing_else(kind):
    if kind not in known_formats():
        pytest.skip(f"this Pillow has no {kind}")
    seed = 20261123  # fixed: a failure can be repeated
    random = Random(f"{seed} {kind}")
    pixels = Image.effect_noise((24, 16), 60).convert("RGB")
    whole = encoded(pixels, kind)
    refusals = []
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(random.choice((1, 3, 20))):
            damaged[random.randrange(random.choice((40, len(whole))))] = random.randrange(256)
        cut = random.choice((len(whole), random.randrange(len(whole))))
        try:
            assert open_upload(bytes(damaged[:cut]), 10_000).mode == "RGB"
        except ValueError as error:
            refusals.append(str(error))
    assert refusals
    assert all(reason.startswith("image: ") for reason in refusals)
