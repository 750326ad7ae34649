"""VOC masks: palettes, colours, names, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from solq_maskcodec import rle_to_masks
from solq_train.data.convert.voc import is_voc, read_voc
from solq_train.data.defects import DataError

SIZE = (20, 40)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("images", "instances", "classes"):
        (tmp_path / name).mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / "a.png")
    save(tmp_path, "instances", numbers())
    save(tmp_path, "classes", np.where(numbers() > 0, 15, 0).astype(np.uint8))
    return tmp_path


def numbers() -> np.ndarray:
    pixels = np.zeros(SIZE, dtype=np.uint8)
    pixels[2:8, 3:9], pixels[10:15, 20:30] = 1, 2
    return pixels


def save(root: Path, folder: str, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(root / folder / "a.png")


def test_each_number_is_an_object_of_voc_s_classes(root: Path) -> None:
    assert is_voc(root)
    source = read_voc(root)
    assert source.category_ids["person"] == 15
    (image,) = source.images[""]
    assert [item.category for item in image.objects] == ["person", "person"]
    masks = rle_to_masks([item.segmentation for item in image.objects])
    assert (masks == (numbers() == np.array([1, 2])[:, None, None])).all()


def test_an_object_has_the_class_of_most_of_its_pixels_void_apart(root: Path) -> None:
    classes = np.where(numbers() > 0, 255, 0).astype(np.uint8)
    classes[10:12, 20:30], classes[12, 20:25] = 8, 3
    save(root, "classes", classes)
    source = read_voc(root)
    assert [item.category for item in source.images[""][0].objects] == ["cat"]
    assert source.left_out["object without a class"] == 1


def test_numbers_may_have_16_bits(root: Path) -> None:
    save(root, "instances", numbers().astype(np.uint16) * 255)
    assert len(read_voc(root).images[""][0].objects) == 2


def test_colours_of_the_voc_palette_are_its_numbers(root: Path) -> None:
    colors = np.zeros((*SIZE, 3), dtype=np.uint8)
    colors[numbers() == 1], colors[numbers() == 2] = (192, 128, 128), (64, 0, 0)
    for folder in ("instances", "classes"):
        save(root, folder, colors)
    found = [item.category for item in read_voc(root).images[""][0].objects]
    assert sorted(found) == ["cat", "person"]


def test_a_label_map_says_what_colours_mean_whatever_the_palette(root: Path) -> None:
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nnut:250,1,2::\nfig:3,250,4::\n"
    )
    picture = Image.fromarray(np.where(numbers() > 0, 3 - numbers(), 0).astype(np.uint8))
    picture.putpalette([0, 0, 0, 250, 1, 2, 3, 250, 4])
    picture.save(root / "classes" / "a.png")
    source = read_voc(root)
    assert source.category_ids == {"nut": 1, "fig": 2}
    assert [item.category for item in source.images[""][0].objects] == ["fig", "nut"]


def test_names_are_counted_from_one(root: Path) -> None:
    (root / "classes.txt").write_text("nut\nfig\n")
    save(root, "classes", numbers())
    assert [item.category for item in read_voc(root).images[""][0].objects] == ["nut", "fig"]


def test_lists_make_the_splits_and_others_are_left_out(root: Path) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    (folder / "val.txt").write_text("a\n")
    Image.new("RGB", SIZE[::-1]).save(root / "images" / "b.png")
    source = read_voc(root)
    assert list(source.images) == ["val"]
    assert +source.left_out == {"image without masks": 1}


def test_what_does_not_fit_is_named(root: Path) -> None:
    save(root, "classes", np.full(SIZE, 77, dtype=np.uint8))
    with pytest.raises(DataError, match=r"a\.png: class 77 has no name: list the names"):
        read_voc(root)
    save(root, "classes", np.zeros((20, 41), dtype=np.uint8))
    with pytest.raises(DataError, match=r"height and width \(20, 40\), got \(20, 41\)"):
        read_voc(root)
    save(root, "classes", np.full((*SIZE, 3), 77, dtype=np.uint8))
    with pytest.raises(DataError, match=r"colours of classes only, got \(77, 77, 77\)"):
        read_voc(root)
    (root / "classes" / "a.png").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"a\.png: must be a whole image file"):
        read_voc(root)
    (root / "classes" / "a.png").unlink()
    with pytest.raises(DataError, match=r"the classes of a\.png are missing"):
        read_voc(root)


def test_a_broken_label_map_is_named_with_its_line(root: Path) -> None:
    (root / "labelmap.txt").write_text("nut:250,1,2::\nfig:red::\n")
    with pytest.raises(DataError, match=r"labelmap\.txt line 2: must be name:r,g,b::"):
        read_voc(root)
