"""Image files that load, and those that do not."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from solq_train.data.coco import CocoImage
from solq_train.data.defects import DataError, DefectKind
from solq_train.data.images import load_image, path_fault, try_load_image


def record(name: str, width: int = 8, height: int = 5) -> CocoImage:
    return CocoImage(id=3, file_name=name, height=height, width=width, annotations=())


def noise(mode_shape: tuple[int, ...], dtype: type = np.uint8) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, size=mode_shape).astype(dtype))


def test_picture_is_rgb_with_the_pixels_of_the_file(tmp_path: Path) -> None:
    picture = noise((5, 8, 3))
    picture.save(tmp_path / "a.png")
    loaded = load_image(tmp_path, record("a.png"))
    assert loaded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(picture))


def test_grey_picture_becomes_rgb(tmp_path: Path) -> None:
    noise((5, 8)).save(tmp_path / "grey.jpg")
    assert load_image(tmp_path, record("grey.jpg")).mode == "RGB"


def test_picture_in_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    noise((5, 8, 3)).save(tmp_path / "below" / "a.png")
    assert load_image(tmp_path, record("below/a.png")).size == (8, 5)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: no such image file"):
        load_image(tmp_path, record("gone.png"))


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png"])
def test_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    noise((50, 80, 3)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=rf"{name}: must be a whole image file, but: .*truncated"):
        load_image(tmp_path, record(name, 80, 50))


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"\x89PNG\r\n\x1a\n" + b"x" * 40]
)
def test_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.png").write_bytes(content)
    with pytest.raises(DataError, match=r"page\.png: must be a whole image file"):
        load_image(tmp_path, record("page.png"))


def test_sixteen_bit_picture_is_refused_and_not_whitened(tmp_path: Path) -> None:
    noise((5, 8), np.uint16).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png: must have 8 bits per channel, got .*I;16"):
        load_image(tmp_path, record("deep.png"))


def test_size_other_than_the_record_names_both(tmp_path: Path) -> None:
    noise((5, 8, 3)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"must be 9 x 5 .* image id 3, got 8 x 5"):
        load_image(tmp_path, record("a.png", width=9))


def test_exchanged_sides_are_explained(tmp_path: Path) -> None:
    noise((8, 5, 3)).save(tmp_path / "turned.png")
    picture, fault = try_load_image(tmp_path, record("turned.png"))
    assert picture is not None
    assert fault is not None
    assert fault[0] is DefectKind.IMAGE_SIZE
    assert "EXIF" in fault[1]


@pytest.mark.parametrize("name", ["../secret.png", "sub/../../secret.png", "C:\\secret.png"])
def test_names_that_lead_out_of_the_folder_are_not_opened(small_set: Any, name: str) -> None:
    shutil.copy(small_set.images / "a.png", small_set.folder / "secret.png")
    with pytest.raises(DataError, match="must lie inside the image folder"):
        load_image(small_set.images, record(name, width=40, height=30))


def test_links_may_lead_inside_the_folder_but_not_out_of_it(small_set: Any) -> None:
    outside = small_set.folder / "outside"
    outside.mkdir()
    shutil.copy(small_set.images / "a.png", outside / "a.png")
    (small_set.images / "inner.png").symlink_to("a.png")
    (small_set.images / "outer.png").symlink_to(outside / "a.png")
    (small_set.images / "below").symlink_to(outside)
    for name, expected in (
        ("inner.png", None),
        ("outer.png", DefectKind.OUTSIDE_FOLDER),
        ("below/a.png", DefectKind.OUTSIDE_FOLDER),
        ("none.png", DefectKind.IMAGE_MISSING),
    ):
        fault = path_fault(small_set.images, name)
        assert (None if fault is None else fault[0]) is expected


def test_the_image_folder_itself_may_be_a_link(small_set: Any) -> None:
    link = small_set.folder / "link"
    link.symlink_to(small_set.images)
    assert path_fault(link, "a.png") is None


def test_a_small_file_that_claims_a_huge_picture_is_refused_before_it_is_unpacked(
    small_set: Any,
) -> None:
    side = 60_000
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(bytes(1000)), b"IEND": b""}
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    ]
    (small_set.images / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(DataError, match=r"bomb\.png: must be a whole image .* decompression bomb"):
        load_image(small_set.images, record("bomb.png", width=side, height=side))
