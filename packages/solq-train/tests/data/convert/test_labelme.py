"""Labelme files: every kind of shape, parts of one object, and what is refused."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from solq_maskcodec import rle_to_masks
from solq_train.data.convert.labelme import is_labelme, read_labelme
from solq_train.data.convert.source import Source
from solq_train.data.defects import DataError

SQUARE = [[1, 1], [5, 1], [5, 5], [1, 5]]


def shape(label: str = "cat", kind: str = "polygon", points: Any = None, **more: Any) -> Any:
    corners = SQUARE if points is None else points
    return {"label": label, "shape_type": kind, "points": corners, "group_id": None, **more}


def save(root: Path, *shapes: Any, **changes: Any) -> Path:
    if not (root / "a.png").exists():
        Image.new("RGB", (40, 20)).save(root / "a.png")
    document = {"imagePath": "a.png", "imageHeight": 20, "imageWidth": 40, "shapes": list(shapes)}
    path = root / "a.json"
    path.write_text(json.dumps({**document, **changes}))
    return path


def objects(source: Source) -> list[Any]:
    return [item for image in source.images[""] for item in image.objects]


def test_labels_are_numbered_by_name_from_one(tmp_path: Path) -> None:
    save(tmp_path, shape("dog"), shape("cat"))
    assert is_labelme(tmp_path)
    source = read_labelme(tmp_path)
    assert source.category_ids == {"cat": 1, "dog": 2}
    assert objects(source)[0].segmentation == [[1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0, 5.0]]


def test_rectangles_and_circles_become_polygons(tmp_path: Path) -> None:
    circle = shape(kind="circle", points=[[10, 10], [14, 13]])
    save(tmp_path, shape(kind="rectangle", points=[[1, 2], [5, 9]]), circle)
    box, round_one = objects(read_labelme(tmp_path))
    assert box.segmentation == [[1.0, 2.0, 5.0, 2.0, 5.0, 9.0, 1.0, 9.0]]
    corners = np.reshape(round_one.segmentation[0], (-1, 2))
    assert np.allclose(np.hypot(*(corners - 10).T), 5, atol=0.01)


def test_shapes_of_one_group_and_label_are_one_object(tmp_path: Path) -> None:
    other = [[10, 1], [15, 1], [15, 5]]
    save(
        tmp_path,
        shape(group_id=1),
        shape(points=other, group_id=1),
        shape("dog", group_id=1),
        shape(),
        shape(),
    )
    found = objects(read_labelme(tmp_path))
    assert [(item.category, len(item.segmentation)) for item in found] == [
        ("cat", 2),
        ("dog", 1),
        ("cat", 1),
        ("cat", 1),
    ]


def test_a_mask_lies_at_its_box_and_joins_polygons(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("1", (3, 2), 1).save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    mask = shape(kind="mask", points=[[38, 4], [40, 5]], mask=data, group_id=7)
    save(tmp_path, mask, shape(group_id=7))
    (found,) = objects(read_labelme(tmp_path))
    pixels = rle_to_masks([found.segmentation])[0]
    assert pixels[4:6, 38:].all()
    assert pixels[1:5, 1:5].all()
    assert pixels.sum() == 4 + 16


def test_what_has_no_area_is_left_out_with_its_reason(tmp_path: Path) -> None:
    save(tmp_path, shape(kind="point", points=[[1, 1]]), shape("__ignore__"), shape())
    source = read_labelme(tmp_path)
    assert source.left_out == {"shape without an area (point)": 1, "ignored region": 1}
    assert source.category_ids == {"cat": 1}


def test_an_image_may_lie_beside_its_folder_but_not_outside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "labels").mkdir(parents=True)
    Image.new("RGB", (40, 20)).save(root / "up.png")
    Image.new("RGB", (40, 20)).save(tmp_path / "secret.png")
    save(root / "labels", shape(), imagePath="..\\up.png")
    assert read_labelme(root).images[""][0].name == "up.png"
    for name in ("../../secret.png", str(tmp_path / "secret.png"), "C:\\secret.png"):
        path = save(root / "labels", shape(), imagePath=name)
        with pytest.raises(DataError, match=r"'imagePath' must lie inside") as error:
            read_labelme(root)
        assert str(path) in str(error.value)


def test_a_missing_image_is_left_out(tmp_path: Path) -> None:
    save(tmp_path, shape(), imagePath="gone.png")
    source = read_labelme(tmp_path)
    assert not source.images
    assert source.left_out == {"annotated image file that is missing": 1}


@pytest.mark.parametrize(
    ("shapes", "changes", "words"),
    [
        ([shape(points=[[1, 1], [2, 2]])], {}, "shapes[0] must have at least 3 points, got 2"),
        ([shape(kind="circle")], {}, "is a circle and must have 2 points, got 4"),
        ([shape(kind="cube")], {}, "shape_type must be one of Labelme's, got 'cube'"),
        ([shape(points=[[1, "x"]] * 3)], {}, "shapes[0].points must be a list of finite [x, y]"),
        ([shape(points=[[1, float("nan")]] * 3)], {}, "finite [x, y]"),
        ([{"points": SQUARE}], {}, "shapes[0] must have a label"),
        ([shape(kind="mask", points=[[1, 1], [2, 2]], mask="?")], {}, "must be a PNG in base64"),
        ([shape()], {"imageHeight": 40}, "must be the picture's height and width (20, 40)"),
        ([shape()], {"imagePath": 3}, "'imagePath' must be the name of a file, got 3"),
        ([shape()], {"shapes": None}, "must be an object with a list of shapes"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, shapes: Any, changes: Any, words: str
) -> None:
    path = save(tmp_path, *shapes, **changes)
    with pytest.raises(DataError) as error:
        read_labelme(tmp_path)
    assert str(path) in str(error.value)
    assert words in str(error.value)


def test_broken_json_is_named_with_its_line(tmp_path: Path) -> None:
    path = save(tmp_path, shape())
    path.write_text('{"imagePath": "a.png",\n"shapes": [')
    with pytest.raises(DataError, match=r"a\.json line 2: must be JSON"):
        read_labelme(tmp_path)
