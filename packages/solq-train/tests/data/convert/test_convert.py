"""Conversion: masks come through each format, splits are made, nothing is left half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from solq_train.data import annotation_mask, check_splits, find_split, make_shapes, read_coco
from solq_train.data.coco import CocoFile, CocoImage
from solq_train.data.convert import convert, detect_format
from solq_train.data.defects import DataError

SIZE = 96


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "shapes"
    make_shapes(folder, num_train=10, num_val=8, image_size=SIZE)
    return folder


@pytest.fixture(scope="module")
def polygon_sets(shapes: Path) -> dict[str, CocoFile]:
    return {split: read_coco(find_split(shapes, split).annotations) for split in ("train", "val")}


def simple_objects(image: CocoImage) -> list[Any]:
    """Objects of one polygon, which every format can hold."""
    return [
        item
        for item in image.annotations
        if isinstance(item.segmentation, list) and len(item.segmentation) == 1
    ]


def masks_by_image(coco: CocoFile, *, simple: bool = False) -> dict[str, list[tuple[str, Any]]]:
    names = {category["id"]: category["name"] for category in coco.categories}
    return {
        image.file_name: [
            (names[item.category_id], annotation_mask(item, (image.height, image.width)))
            for item in (simple_objects(image) if simple else image.annotations)
        ]
        for image in coco.images
    }


def iou(one: Any, other: Any) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def assert_same_masks(expected: CocoFile, made: CocoFile) -> None:
    found = masks_by_image(made)
    wanted = masks_by_image(expected, simple=True)
    assert sum(map(len, wanted.values())) > 3
    assert found.keys() == wanted.keys()
    for name, objects in wanted.items():
        assert len(found[name]) == len(objects)
        for category, mask in objects:
            same = [iou(mask, other) for label, other in found[name] if label == category]
            assert max(same) >= 0.98, (name, category)


def write_yolo(shapes: Path, sets: dict[str, CocoFile], root: Path) -> None:
    root.mkdir()
    names = [category["name"] for category in sets["train"].categories]
    numbers = {c["id"]: names.index(c["name"]) for c in sets["train"].categories}
    (root / "data.yaml").write_text(f"train: images/train\nnc: {len(names)}\nnames: {names}\n")
    for split, coco in sets.items():
        shutil.copytree(shapes / split, root / "images" / split)
        (root / "labels" / split).mkdir(parents=True)
        for image in coco.images:
            lines = [
                f"{numbers[item.category_id]} "
                + " ".join(f"{value / SIZE:.6f}" for value in item.segmentation[0])
                for item in simple_objects(image)
            ]
            if lines:
                text = root / "labels" / split / Path(image.file_name).with_suffix(".txt")
                text.write_text("\n".join(lines) + "\n")


def write_labelme(shapes: Path, coco: CocoFile, root: Path) -> None:
    root.mkdir()
    names = {category["id"]: category["name"] for category in coco.categories}
    for image in coco.images:
        shutil.copy(shapes / "train" / image.file_name, root / image.file_name)
        drawn = [
            {
                "label": names[item.category_id],
                "shape_type": "polygon",
                "group_id": None,
                "points": np.reshape(item.segmentation[0], (-1, 2)).tolist(),
            }
            for item in simple_objects(image)
        ]
        document = {
            "version": "5.4.1",
            "flags": {},
            "shapes": drawn,
            "imagePath": image.file_name,
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        (root / image.file_name).with_suffix(".json").write_text(json.dumps(document))


def write_voc(shapes: Path, sets: dict[str, CocoFile], root: Path) -> None:
    names = [category["name"] for category in sets["train"].categories]
    folders = ("JPEGImages", "SegmentationObject", "SegmentationClass", "ImageSets/Segmentation")
    for name in folders:
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(names))
    numbers = {c["id"]: names.index(c["name"]) + 1 for c in sets["train"].categories}
    for split, coco in sets.items():
        stems = []
        for image in coco.images:
            stem = f"{split}_{Path(image.file_name).stem}"
            stems.append(stem)
            shutil.copy(shapes / split / image.file_name, root / "JPEGImages" / f"{stem}.png")
            objects = np.zeros((SIZE, SIZE), dtype=np.uint8)
            classes = np.zeros((SIZE, SIZE), dtype=np.uint8)
            for number, item in enumerate(image.annotations, start=1):
                mask = annotation_mask(item, (SIZE, SIZE))
                objects[mask], classes[mask] = number, numbers[item.category_id]
            objects[0, 0] = classes[0, 0] = 255
            for folder, pixels in (("SegmentationObject", objects), ("SegmentationClass", classes)):
                picture = Image.fromarray(pixels)
                picture.putpalette([value for value in range(256) for _ in range(3)])
                picture.save(root / folder / f"{stem}.png")
        lists = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        lists.write_text("\n".join(stems) + "\n")


def test_masks_come_back_from_yolo_text(
    shapes: Path, polygon_sets: dict[str, CocoFile], tmp_path: Path
) -> None:
    write_yolo(shapes, polygon_sets, tmp_path / "yolo")
    made = convert(tmp_path / "yolo", tmp_path / "coco")
    assert made.format == "yolo"
    assert made.images == {"train": 10, "val": 8}
    for split, expected in polygon_sets.items():
        assert_same_masks(expected, read_coco(find_split(tmp_path / "coco", split).annotations))


def test_masks_come_back_from_labelme_and_the_set_is_divided(
    shapes: Path, polygon_sets: dict[str, CocoFile], tmp_path: Path
) -> None:
    write_labelme(shapes, polygon_sets["train"], tmp_path / "labelme")
    made = convert(tmp_path / "labelme", tmp_path / "coco", val=0.3)
    assert made.format == "labelme"
    assert sum(made.images.values()) == 10
    assert 2 <= made.images["val"] <= 4
    parts = [
        read_coco(find_split(tmp_path / "coco", split).annotations) for split in ("train", "val")
    ]
    ids = [item.id for part in parts for image in part.images for item in image.annotations]
    assert len(set(ids)) == len(ids)
    found = {name: masks for part in parts for name, masks in masks_by_image(part).items()}
    wanted = masks_by_image(polygon_sets["train"], simple=True)
    assert found.keys() == wanted.keys()
    for name, objects in wanted.items():
        for (category, mask), (label, other) in zip(objects, found[name], strict=True):
            assert category == label
            assert iou(mask, other) >= 0.98


def test_masks_of_voc_are_those_of_the_pixels(
    shapes: Path, polygon_sets: dict[str, CocoFile], tmp_path: Path
) -> None:
    write_voc(shapes, polygon_sets, tmp_path / "voc")
    made = convert(tmp_path / "voc", tmp_path / "coco")
    assert made.format == "voc"
    assert made.images == {"train": 10, "val": 8}
    coco = read_coco(find_split(tmp_path / "coco", "train").annotations)
    for image in coco.images:
        path = tmp_path / "voc" / "SegmentationObject" / image.file_name
        with Image.open(path) as picture:
            assert picture.mode == "P"
            objects = np.asarray(picture)
        numbers = [value for value in np.unique(objects).tolist() if value not in (0, 255)]
        assert len(image.annotations) == len(numbers)
        for number, item in zip(numbers, image.annotations, strict=True):
            assert (annotation_mask(item, (SIZE, SIZE)) == (objects == number)).all()


def test_what_was_made_is_sound_and_its_images_are_no_copies(
    shapes: Path, polygon_sets: dict[str, CocoFile], tmp_path: Path
) -> None:
    write_yolo(shapes, polygon_sets, tmp_path / "yolo")
    convert(tmp_path / "yolo", tmp_path / "coco", "yolo")
    splits = [find_split(tmp_path / "coco", split) for split in ("train", "val")]
    assert not any(report.has_errors for report in check_splits(splits))
    source = tmp_path / "yolo" / "images" / "train" / "000001.png"
    assert (tmp_path / "coco" / "train" / "000001.png").samefile(source)


def test_a_set_without_validation_images_is_divided(
    shapes: Path, polygon_sets: dict[str, CocoFile], tmp_path: Path
) -> None:
    write_yolo(shapes, {"train": polygon_sets["train"]}, tmp_path / "yolo")
    first = convert(tmp_path / "yolo", tmp_path / "one", val=0.3)
    again = convert(tmp_path / "yolo", tmp_path / "two", val=0.3)
    assert first == again
    assert first.images["val"] >= 1
    files = [tmp_path / name / "annotations/instances_val.json" for name in ("one", "two")]
    assert files[0].read_text() == files[1].read_text()


def test_a_picture_on_its_side_is_turned_with_its_annotations(tmp_path: Path) -> None:
    root = tmp_path / "yolo"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    (root / "classes.txt").write_text("thing\n")
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        Image.new("RGB", (60, 40)).save(root / "images" / f"{name}.jpg", exif=exif)
        (root / "labels" / f"{name}.txt").write_text("0 0 0 1 0 1 0.5 0 0.5\n")
    made = convert(root, tmp_path / "coco", val=0.5)
    assert made.turned == 2
    split = find_split(tmp_path / "coco", "val")
    (image,) = read_coco(split.annotations).images
    assert (image.height, image.width) == (60, 40)
    assert image.annotations[0].bbox_xywh == (0, 0, 40, 30)
    with Image.open(split.images / image.file_name) as picture:
        assert picture.size == (40, 60)
    assert not check_splits([split])[0].has_errors


def test_an_error_leaves_nothing_behind(
    shapes: Path, polygon_sets: dict[str, CocoFile], tmp_path: Path
) -> None:
    write_yolo(shapes, polygon_sets, tmp_path / "yolo")
    broken = tmp_path / "yolo" / "images" / "train" / "000003.png"
    broken.write_bytes(b"hello")
    with pytest.raises(DataError, match=r"000003\.png: must be a whole image file"):
        convert(tmp_path / "yolo", tmp_path / "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["yolo"]


def test_a_link_out_of_the_folder_is_refused(
    shapes: Path, polygon_sets: dict[str, CocoFile], tmp_path: Path
) -> None:
    write_yolo(shapes, polygon_sets, tmp_path / "yolo")
    (tmp_path / "yolo" / "images" / "train" / "link.png").symlink_to(shapes / "val" / "000001.png")
    with pytest.raises(DataError, match=r"link\.png: must lie inside"):
        convert(tmp_path / "yolo", tmp_path / "coco")


def test_an_output_with_files_in_it_is_refused(
    shapes: Path, polygon_sets: dict[str, CocoFile], tmp_path: Path
) -> None:
    write_yolo(shapes, polygon_sets, tmp_path / "yolo")
    with pytest.raises(DataError, match="must be a new or empty folder"):
        convert(tmp_path / "yolo", shapes)


def test_unknown_folders_are_refused_with_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        detect_format(tmp_path / "none")
    with pytest.raises(DataError, match=r"expected one of the known formats .*found none"):
        detect_format(tmp_path)
    with pytest.raises(DataError, match="expected JSON files with shapes"):
        convert(tmp_path, tmp_path / "coco", "labelme")


def test_a_polygon_that_no_image_can_hold_is_refused_with_its_image(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    far = [[0, 0], [1e9, 0], [0, 1]]
    drawn = {"label": "cat", "shape_type": "polygon", "points": far}
    document = {"imagePath": "a.png", "shapes": [drawn]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"a\.png: an object cannot be converted: .* stay within"):
        convert(tmp_path, tmp_path / "coco")
