import contextlib
import copy
import io
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solq_maskcodec import crop_masks, masks_to_rle, rle_to_masks
from solq_maskcodec.image.adapters import (
    from_coco,
    from_sam,
    from_supervision,
    to_coco,
    to_supervision,
)

DATA = Path(__file__).resolve().parents[4].parent / "shared" / "data"
COCO_100 = DATA / "coco_val2014_100" / "annotations" / "instances_val2014_100.json"


class StoredCrops:
    """What this package uses of supervision 0.31's CompactMask, written from its documentation."""

    def __init__(self, crops, offsets, image_shape):
        self._crops, self.offsets, self.image_shape = crops, offsets, image_shape

    def __len__(self):
        return len(self._crops)

    def crop(self, index):
        return self._crops[index]

    @classmethod
    def from_coco_rle(cls, rles, xyxy, image_shape):
        assert xyxy.shape == (len(rles), 4)
        masks = rle_to_masks(rles)
        crops = [
            mask[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1]
            for mask, (x0, y0, x1, y1) in zip(masks, xyxy, strict=True)
        ]
        return cls(crops, xyxy[:, :2].astype(np.int32), image_shape)

    def to_dense(self):
        dense = np.zeros((len(self), *self.image_shape), bool)
        for mask, crop, (x, y) in zip(dense, self._crops, self.offsets, strict=True):
            mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        return dense


@pytest.fixture(params=["stand-in", "supervision"])
def compact_mask(request):
    if request.param == "stand-in":
        return StoredCrops
    with warnings.catch_warnings(action="ignore"):  # that OpenCV is absent
        return pytest.importorskip("supervision", minversion="0.30").CompactMask


@pytest.fixture
def masks(blobs):
    """Three masks of 30x40, the second one empty and the third one full."""
    masks = np.zeros((3, 30, 40), bool)
    masks[0, 5:25, 7:27] = blobs(1, 20)[0]
    masks[2] = True
    return masks


def sam_records(masks):
    """Records with the fields and the units of SamAutomaticMaskGenerator.generate."""
    for mask in masks:
        rows, columns = np.nonzero(mask)
        x, y, right, bottom = 0, 0, 0, 0
        if len(rows) > 0:
            x, y, right, bottom = columns.min(), rows.min(), columns.max(), rows.max()
        yield {
            "segmentation": mask,
            "area": int(mask.sum()),
            "bbox": [int(x), int(y), int(right - x), int(bottom - y)],
            "predicted_iou": 0.9,
            "point_coords": [[3.0, 4.0]],
            "stability_score": 0.97,
            "crop_box": [0, 0, mask.shape[1], mask.shape[0]],
        }


def test_annotations_become_rles_and_corners(masks):
    polygons = [[3, 4, 20.5, 4, 20, 17.5], [1, 1, 3, 1, 3, 3]]
    uncompressed = {"size": [30, 40], "counts": [30 * 40]}
    compressed = masks_to_rle(masks[:1])[0]
    rles, boxes = from_coco(
        [
            {"segmentation": polygons, "bbox": [1, 1, 19.5, 16.5], "iscrowd": 0, "id": 3},
            {"segmentation": uncompressed, "bbox": [0, 0, 0, 0], "iscrowd": 1},
            {
                "segmentation": {**compressed, "counts": compressed["counts"].encode()},
                "bbox": [0] * 4,
            },
        ],
        (30, 40),
    )
    parts = coco_masks.frPyObjects(polygons, 30, 40)
    assert rles[0] == {"size": [30, 40], "counts": coco_masks.merge(parts)["counts"].decode()}
    assert rles[1:] == [masks_to_rle(masks[1:2])[0], compressed]
    assert boxes.dtype == np.float32
    np.testing.assert_array_equal(boxes[0], [1, 1, 20.5, 17.5])


def test_what_comes_from_coco_goes_into_crop_masks():
    annotation = {"segmentation": [[2, 2, 10, 2, 10, 10, 2, 10]], "bbox": [2, 2, 8, 8]}
    assert crop_masks(*from_coco([annotation], (30, 40)), 16).all()


def test_real_annotations_crop_as_their_dense_masks_do():
    if not COCO_100.exists():
        pytest.skip(f"annotations absent from ../shared/data: {COCO_100.name}")
    document = json.loads(COCO_100.read_text("utf-8"))
    for image in document["images"][:40]:
        image_size = image["height"], image["width"]
        entries = [entry for entry in document["annotations"] if entry["image_id"] == image["id"]]
        rles, boxes = from_coco(entries, image_size)
        crops = crop_masks(rles, boxes, 28)
        segmentations = [entry["segmentation"] for entry in entries]
        np.testing.assert_array_equal(crop_masks(segmentations, boxes, 28, image_size), crops)
        if rles:
            np.testing.assert_array_equal(crop_masks(rle_to_masks(rles), boxes, 28), crops)


def test_no_annotations_and_no_records_give_empty_arrays():
    for rles, boxes in (from_coco([], (3, 4)), from_sam([])):
        assert rles == []
        assert boxes.shape == (0, 4)
        assert crop_masks(rles, boxes, 5).shape == (0, 5, 5)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"bbox": [0, 0, 1, 1]}, 'annotations[1] must be a dict with "segmentation", got'),
        ({"segmentation": [[1, 1, 4, 1, 4, 3]]}, 'annotations[1] must be a dict with "bbox", got'),
        (None, 'annotations[1] must be a dict with "segmentation", got None'),
        ({"segmentation": [], "bbox": [0] * 4}, "annotations[1]: segmentation must be a list of"),
        (
            {"segmentation": [[1, 1]], "bbox": [0] * 4},
            "annotations[1]: segmentation[0] must be [x0",
        ),
        (
            {"segmentation": {"size": [30, 40], "counts": "1"}, "bbox": [0] * 4},
            "counts of rle 1 must be lengths that add up to 30 * 40 = 1200, got a sum of 1",
        ),
        (
            {"segmentation": {"size": [40, 30], "counts": "1"}, "bbox": [0] * 4},
            "rle 1 must have the size [30, 40] of all, got [40, 30]",
        ),
        (
            {"segmentation": [[1, 1, 4, 1, 4, 3]], "bbox": [0, 0, 1]},
            "annotations[1]: bbox must be four finite numbers [x, y, width, height], got [0, 0, 1]",
        ),
        (
            {"segmentation": [[1, 1, 4, 1, 4, 3]], "bbox": [0, 0, 1, float("nan")]},
            "annotations[1]: bbox must be four finite numbers",
        ),
    ],
)
def test_a_broken_annotation_is_refused_with_its_index(annotation, message):
    whole = {"segmentation": [[1, 1, 4, 1, 4, 3]], "bbox": [1, 1, 3, 2]}
    with pytest.raises(ValueError, match=re.escape(message)):
        from_coco([whole, annotation], (30, 40))


def test_results_survive_json_and_name_each_instance(masks):
    rles = masks_to_rle(masks)
    boxes = np.array([[7, 5, 27, 25], [0, 0, 0, 0], [0, 0, 40, 30]], np.float32)
    scores, labels = np.array([0.75, 0.5, 0.25], np.float32), np.array([3, 1, 90])
    results = to_coco(rles, boxes, scores, labels, np.int64(7))
    assert json.loads(json.dumps(results)) == results
    assert results[0] == {
        "image_id": 7,
        "category_id": 3,
        "bbox": [7, 5, 20, 20],
        "segmentation": rles[0],
        "score": 0.75,
    }
    assert [result["category_id"] for result in results] == [3, 1, 90]


def test_results_take_lists_and_rles_of_all_kinds(masks):
    compressed = masks_to_rle(masks[:1])[0]
    runs = {"size": [30, 40], "counts": [0, 1200]}
    as_bytes = {"size": (30, 40), "counts": compressed["counts"].encode()}
    results = to_coco([as_bytes, runs], [[0, 0, 1, 1]] * 2, [1, 0.5], [1, 2], 1)
    assert json.loads(json.dumps(results)) == results
    assert results[0]["segmentation"] == compressed
    assert results[1]["segmentation"] == masks_to_rle(masks[2:])[0]
    assert to_coco([], np.zeros((0, 4)), [], [], 1) == []


def test_ground_truth_that_goes_through_has_an_average_precision_of_one():
    if not COCO_100.exists():
        pytest.skip(f"annotations absent from ../shared/data: {COCO_100.name}")
    document = json.loads(COCO_100.read_text("utf-8"))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(document)
        coco.createIndex()
        results = []
        for image in document["images"][:40]:
            entries = [entry for entry in coco.imgToAnns[image["id"]] if not entry["iscrowd"]]
            rles, boxes = from_coco(entries, (image["height"], image["width"]))
            categories = [entry["category_id"] for entry in entries]
            results += to_coco(rles, boxes, np.ones(len(rles)), categories, image["id"])
        for kind in ("segm", "bbox"):
            evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), kind)
            evaluation.params.imgIds = [image["id"] for image in document["images"][:40]]
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            assert evaluation.stats[0] == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"scores": [0.5]},
            "scores and category_ids must be one for each of 2 rles, got shapes (1,)",
        ),
        ({"category_ids": [1, 2, 3]}, "must be one for each of 2 rles, got shapes (2,) and (3,)"),
        ({"scores": [0.5, float("nan")]}, "scores must be finite, got nan"),
        ({"boxes": [[0, 0, 1, 1]]}, "boxes must be [instances, 4] with one box for each of 2 rles"),
        ({"boxes": [[0, 0, 1, np.inf]] * 2}, "boxes must be finite, got [0.0, 0.0, 1.0, inf]"),
        ({"rles": [{"size": [2, 3], "counts": [5]}] * 2}, "counts of rle 0 must be lengths that"),
        ({"rles": [{"size": [2, 3], "counts": "6"}, {}]}, "rle 1 must be {"),
    ],
)
def test_results_that_do_not_fit_together_are_refused(change, message):
    whole = {
        "rles": [{"size": [2, 3], "counts": "6"}] * 2,
        "boxes": [[0, 0, 1, 1]] * 2,
        "scores": [0.5, 0.5],
        "category_ids": [1, 2],
    }
    with pytest.raises(ValueError, match=re.escape(message)):
        to_coco(**{**whole, **change}, image_id=1)


@pytest.mark.parametrize("category_ids", [[1.0, 2.0], ["1", "2"]])
def test_a_category_that_is_no_integer_is_refused(category_ids):
    rles = [{"size": [2, 3], "counts": "6"}] * 2
    with pytest.raises(TypeError):
        to_coco(rles, [[0, 0, 1, 1]] * 2, [0.5, 0.5], category_ids, 1)


def test_sam_records_of_all_three_modes_become_the_same_rles_and_boxes(masks):
    binary = list(sam_records(masks))
    rles = masks_to_rle(masks)
    runs = [
        {
            "size": [30, 40],
            "counts": np.diff(np.flatnonzero(np.diff(flat, prepend=2, append=2))).tolist(),
        }
        for flat in masks.transpose(0, 2, 1).reshape(3, -1).astype(int)
    ]
    for entry, mask in zip(runs, masks, strict=True):
        entry["counts"] = [0] * int(mask[0, 0]) + entry["counts"]
    modes = (
        binary,
        [{**record, "segmentation": entry} for record, entry in zip(binary, runs, strict=True)],
        [{**record, "segmentation": entry} for record, entry in zip(binary, rles, strict=True)],
    )
    for records in modes:
        found, boxes = from_sam(records)
        assert found == rles
        assert boxes.dtype == np.float32
        np.testing.assert_array_equal(boxes[2], [0, 0, 40, 30])


def test_boxes_of_sam_hold_the_last_pixel(masks):
    rles, boxes = from_sam(sam_records(masks[:1]))
    x0, y0, x1, y1 = boxes[0].astype(int)
    assert masks[0, y0:y1, x0:x1].sum() == masks[0].sum()
    assert masks[0, y1 - 1].any()
    assert masks[0, :, x1 - 1].any()
    x, y, width, height = coco_masks.toBbox([{**rles[0], "counts": rles[0]["counts"].encode()}])[0]
    np.testing.assert_array_equal(boxes[0], [x, y, x + width, y + height])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"bbox": [0, 0, 1, 1]}, 'records[1] must be a dict with "segmentation", got'),
        ({"segmentation": {"size": [2, 3]}, "bbox": [0] * 4}, "rle 1 must be {"),
        ({"segmentation": np.zeros((2, 3), bool)}, 'records[1] must be a dict with "bbox", got'),
        ({"segmentation": [[1, 2]], "bbox": [0] * 4}, "records[1]: segmentation must be"),
    ],
)
def test_a_broken_record_is_refused_with_its_index(record, message):
    whole = {"segmentation": np.zeros((2, 3), bool), "bbox": [0, 0, 1, 1]}
    with pytest.raises(ValueError, match=re.escape(message)):
        from_sam([whole, record])


def test_masks_come_back_from_supervision(masks, compact_mask):
    rles = masks_to_rle(masks)
    stored = to_supervision(rles, (30, 40), compact_mask)
    assert isinstance(stored, compact_mask)
    assert stored.image_shape == (30, 40)
    np.testing.assert_array_equal(stored.to_dense(), masks)
    found, boxes = from_supervision(stored)
    assert found == rles
    assert boxes.dtype == np.float32
    np.testing.assert_array_equal(boxes[2], [0, 0, 40, 30])


def test_supervision_stores_the_smallest_crops(masks, compact_mask):
    stored = to_supervision(masks_to_rle(masks), (30, 40), compact_mask)
    rows, columns = np.nonzero(masks[0])
    assert stored.crop(0).shape == (np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert stored.offsets[0].tolist() == [columns.min(), rows.min()]
    assert stored.crop(1).shape == (1, 1)


def test_boxes_from_supervision_end_a_pixel_after_its_own(masks, compact_mask):
    rles = masks_to_rle(masks[:1])
    loose = compact_mask.from_coco_rle(rles, np.array([[2.0, 3, 30, 27]]), (30, 40))
    found, boxes = from_supervision(loose)
    assert found == rles
    np.testing.assert_array_equal(boxes, [[2, 3, 31, 28]])


def test_supervision_may_hold_no_masks(compact_mask):
    stored = to_supervision([], (30, 40), compact_mask)
    assert len(stored) == 0
    rles, boxes = from_supervision(stored)
    assert rles == []
    assert boxes.shape == (0, 4)


def test_a_broken_rle_does_not_reach_supervision(compact_mask):
    rles = [{"size": [30, 40], "counts": [1200]}, {"size": [30, 40], "counts": [3]}]
    with pytest.raises(ValueError, match="counts of rle 1 must be lengths"):
        to_supervision(rles, (30, 40), compact_mask)


def test_a_class_that_is_no_compact_mask_is_refused():
    with pytest.raises(TypeError, match=r"compact_mask must be supervision.CompactMask, 0.30 or"):
        to_supervision([], (30, 40), dict)
