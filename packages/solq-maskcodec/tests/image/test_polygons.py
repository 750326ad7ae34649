import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pycocotools import mask as coco

from solq_maskcodec import rle_to_masks
from solq_maskcodec.image.polygons import polygons_to_rle

DATA = Path(__file__).resolve().parents[4].parent / "shared" / "data"


def coco_string(polygons, image_size):
    """What pycocotools makes of the polygons, as flat lists: [n, 2] it would take for boxes."""
    flat = [np.ravel(polygon).tolist() for polygon in polygons]
    return coco.merge(coco.frPyObjects(flat, *image_size))["counts"].decode("ascii")


@st.composite
def objects(draw):
    """Parts of an object, near, around or far from the image, many of them degenerate."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image_size = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    scale = draw(st.sampled_from([[3, 3], [40, 40], [900, 900], [1, 900], [900, 1], [0, 40]]))
    # On these grids, edges run through the middles of pixels and of the fine grid's steps.
    grid = draw(st.sampled_from([None, 1, 2, 5, 10]))
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        corners = random.normal(random.uniform(-9, 70, 2), scale, (random.integers(3, 9), 2))
        corners = corners if grid is None else np.round(corners * grid) / grid
        if draw(st.booleans()):
            corners = corners[random.integers(len(corners), size=len(corners) + 2)]
        parts.append(corners)
    return parts, image_size


def test_a_square_covers_the_pixels_inside():
    # Columns 1 to 3, rows 1 and 2 of an image of 4 rows: 4 + 1 off, then 2 on, 2 off, …
    rle = polygons_to_rle([[1, 1, 4, 1, 4, 3, 1, 3]], (4, 6))
    assert rle == {"size": [4, 6], "counts": coco_string([[1, 1, 4, 1, 4, 3, 1, 3]], (4, 6))}
    expected = np.zeros((4, 6), bool)
    expected[1:3, 1:4] = True
    np.testing.assert_array_equal(rle_to_masks([rle])[0], expected)


def test_parts_are_one_mask_where_they_overlap_too():
    parts = [[1, 1, 4, 1, 4, 3, 1, 3], [2, 0, 6, 0, 6, 4, 2, 4]]
    mask = rle_to_masks([polygons_to_rle(parts, (4, 6))])[0]
    assert mask.sum() == 2 + 16


@given(objects())
@example(([np.array([[-0.2, 0], [0, 9], [9, -0.2], [9, 9]])], (9, 9)))
@example(([np.array([[0, 0], [9, 0], [9, 9], [0, 9]])], (9, 9)))
@example(([np.array([[-5, -5], [-1, -5], [-1, 40]])], (9, 9)))
@example(([np.array([[4, 4]] * 3), np.array([[5, 5]] * 4)], (9, 9)))
def test_strings_equal_pycocotools(scene):
    parts, image_size = scene
    rle = polygons_to_rle(parts, image_size)
    assert rle == {"size": list(image_size), "counts": coco_string(parts, image_size)}


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 7, 10]))
def test_steep_and_long_edges_equal_pycocotools(seed, denominator):
    # Slopes such as 1/3, whose multiples lie exactly between two steps, rounded either way.
    random = np.random.default_rng(seed)
    corners = random.integers(-30000, 30000, (5, 2)) / denominator
    corners[:, random.integers(2)] /= random.integers(1, 3000)
    assert polygons_to_rle([corners], (200, 300))["counts"] == coco_string([corners], (200, 300))


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_edges_exactly_between_two_steps_equal_pycocotools(seed, is_steep):
    # Slopes such as 7/10 are not exact. Near 0, where floats are dense, the step that is taken
    # depends on the end that an edge begins from.
    random = np.random.default_rng(seed)
    tails = random.integers(0, 8, (150, 2))
    slopes = np.stack([np.full(150, 10), random.choice([1, 3, 7, 9], 150)], axis=1)
    heads = tails + slopes * random.integers(1, 60, (150, 1))
    corners = np.stack([tails, heads], axis=1).reshape(-1, 2) / 5
    corners = corners[:, ::-1] if is_steep else corners
    assert polygons_to_rle([corners], (150, 150))["counts"] == coco_string([corners], (150, 150))


def test_every_real_polygon_gives_pycocotools_string():
    documents = [json.loads(file.read_text("utf-8")) for file in DATA.rglob("*.json")]
    documents = [file for file in documents if isinstance(file, dict) and "annotations" in file]
    if not documents:
        pytest.skip("real polygons absent: no annotation files in ../shared/data")
    for document in documents:
        sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
        for annotation in document["annotations"]:
            polygons, image_size = annotation["segmentation"], sizes[annotation["image_id"]]
            if isinstance(polygons, list):
                counts = polygons_to_rle(polygons, image_size)["counts"]
                assert counts == coco_string(polygons, image_size), annotation["id"]


def test_arrays_of_all_kinds_are_polygons():
    flat = [1, 1, 4, 1, 4, 3, 1, 3]
    expected = polygons_to_rle([flat], (4, 6))
    pairs = np.reshape(flat, (-1, 2))
    for part in (pairs, pairs.tolist(), pairs.astype(np.float32), np.array(flat, np.uint8)):
        assert polygons_to_rle([part], (4, 6)) == expected
    assert polygons_to_rle((tuple(flat),), (4, 6)) == expected


def test_a_polygon_far_outside_costs_nothing():
    part = [-1e8, -1e8, 1e8, -1e8, 1e8, 1e8, -1e8, 1e8]
    near = [-9, -9, 700, -9, 700, 700, -9, 700]
    assert polygons_to_rle([part], (480, 640)) == polygons_to_rle([near], (480, 640))
    assert rle_to_masks([polygons_to_rle([part], (480, 640))]).all()


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        ([], "polygons must be a list of at least one polygon, got []"),
        ("12", "polygons must be a list of at least one polygon, got '12'"),
        ({"counts": 1}, "polygons must be a list of at least one polygon, got {'counts': 1}"),
        ([[1, 2]], "polygons[0] must be [x0, y0, x1, y1, …] of at least 3 points, got [1, 2]"),
        ([[1, 2, 3, 4]], "polygons[0] must be [x0, y0, x1, y1, …] of at least 3 points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "of at least 3 points, got [1, 2, 3, 4, 5, 6, 7]"),
        ([[1, 2, 3, 4, 5, 6], [1]], "polygons[1] must be [x0, y0, x1, y1, …] of at least"),
        ([1, 2, 3, 4, 5, 6], "polygons[0] must be [x0, y0, x1, y1, …] of at least 3 points, got 1"),
        ([["1", "2", "3", "4", "5", "6"]], "polygons[0] must be [x0, y0, x1, y1, …] of at least"),
        ([[[1, 2], [3, 4], [5]]], "polygons[0] must be [x0, y0, x1, y1, …] of at least 3 points"),
        ([[1, 2, 3, 4, 5, np.nan]], "polygons[0] must hold finite numbers within"),
        ([[1, 2, 3, 4, 5, -np.inf]], "polygons[0] must hold finite numbers within"),
        ([[1, 2, 3, 4, 5, 1e9]], "polygons[0] must hold finite numbers within 134217728 pixels"),
    ],
)
def test_what_is_no_polygon_is_refused(polygons, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        polygons_to_rle(polygons, (4, 6))


def test_an_image_size_that_is_none_is_refused():
    with pytest.raises(ValueError, match="image_size height must be a positive integer, got 0"):
        polygons_to_rle([[1, 1, 4, 1, 4, 3]], (0, 6))
