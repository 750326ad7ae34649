"""What all formats share: texts, pictures and their turns."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from solq_train.data.convert.source import (
    image_files,
    inside,
    is_turned,
    polygon,
    read_text,
    refuse,
    upright_size,
)
from solq_train.data.defects import DataError


def test_refusals_name_file_and_line() -> None:
    with pytest.raises(DataError, match=r"^a\.txt line 3: must be x$"):
        refuse(Path("a.txt"), "must be x", 3)
    with pytest.raises(DataError, match=r"^a\.txt: must be x$"):
        refuse(Path("a.txt"), "must be x")


def test_texts_may_begin_with_a_mark_and_must_be_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfname")
    assert read_text(path) == "name"
    path.write_bytes(b"\xff")
    with pytest.raises(DataError, match="must be a text file in UTF-8"):
        read_text(path)


@pytest.mark.parametrize(("turn", "size"), [(1, (20, 40)), (3, (20, 40)), (6, (40, 20))])
def test_sizes_are_those_after_the_turn(tmp_path: Path, turn: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert upright_size(tmp_path / "a.jpg") == size
    assert is_turned(tmp_path / "a.jpg") == (turn != 1)


def test_files_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"a\.jpg: must be a whole image file"):
        upright_size(tmp_path / "a.jpg")


def test_images_are_found_below_by_name(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.PNG", "deep/a.jpg", "c.txt"):
        (tmp_path / name).touch()
    assert image_files(tmp_path) == [tmp_path / "b.PNG", tmp_path / "deep" / "a.jpg"]


def test_inside_follows_links(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "file")
    assert inside(tmp_path / "root", tmp_path / "root" / "x")
    assert not inside(tmp_path / "root", tmp_path / "root" / "link")


def test_points_become_coordinates_in_hundredths() -> None:
    assert polygon([(1, 2.346), (0.001, 4)]) == [1.0, 2.35, 0.0, 4.0]
