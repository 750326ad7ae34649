"""The codec's ceiling is the AP of the ground truth after encode and decode."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from solq_maskcodec import DCTMaskCodec, crop_masks
from solq_model.categories import Categories
from solq_model.records import Instances
from solq_train.data.coco import annotation_mask, read_coco
from solq_train.metrics import CocoEvaluator, codec_ceiling

CODEC = DCTMaskCodec(num_coefficients=64, mask_size=32, threshold="midrange")


@pytest.fixture
def triangles(rectangles):
    """The small annotation file with a triangle in each box, as a polygon."""
    document = json.loads(rectangles.read_text())
    for entry in document["annotations"]:
        x, y, width, height = entry["bbox"]
        if not entry["iscrowd"]:
            entry["segmentation"] = [[x, y, x + width, y, x, y + height]]
            entry["area"] = width * height / 2
    path = rectangles.with_name("triangles.json")
    path.write_text(json.dumps(document))
    return path


def test_simple_shapes_survive_the_codec_and_crowds_are_no_targets(triangles):
    metrics = codec_ceiling(triangles, CODEC)

    assert pytest.approx(1.0) == metrics.bbox.AP
    assert pytest.approx(1.0) == metrics.segm.AP


def test_images_can_be_narrowed(triangles):
    metrics = codec_ceiling(triangles, CODEC, image_ids=[30])

    assert {c.name: c.num_objects for c in metrics.categories} == {"cup": 0, "dog": 1}
    assert metrics.segm.by_category == pytest.approx({7: -1.0, 23: 1.0})


def test_objects_without_an_area_in_the_image_are_no_targets(triangles):
    document = json.loads(triangles.read_text())
    document["annotations"][0]["bbox"] = [10, 10, 0, 20]
    triangles.write_text(json.dumps(document))

    assert codec_ceiling(triangles, CODEC).segm.by_category == pytest.approx({7: 0.0, 23: 1.0})


def test_the_coco_example_stays_below_one_and_falls_with_fewer_coefficients(coco_val2014_100):
    annotations = coco_val2014_100 / "annotations" / "instances_val2014_100.json"
    image_ids = [image.id for image in read_coco(annotations).images[:20]]

    midrange = DCTMaskCodec(threshold="midrange")
    published = codec_ceiling(annotations, midrange, image_ids=image_ids)
    fewer = replace(midrange, num_coefficients=25)
    coarse = codec_ceiling(annotations, fewer, image_ids=image_ids)

    assert pytest.approx(1.0) == published.bbox.AP
    assert 0.95 < published.segm.AP < 1.0
    assert coarse.segm.AP < published.segm.AP - 0.05


def test_it_is_what_perfect_predictions_get(coco_val2014_100):
    annotations = coco_val2014_100 / "annotations" / "instances_val2014_100.json"
    coco = read_coco(annotations)
    categories = Categories.contiguous(coco.categories)
    images = coco.images[:10]
    image_ids = [image.id for image in images]
    evaluator = CocoEvaluator(annotations, image_ids=image_ids)
    for image in images:
        objects = [entry for entry in image.annotations if not entry.is_crowd]
        image_size = (image.height, image.width)
        masks = [torch.from_numpy(annotation_mask(entry, image_size)) for entry in objects]
        boxes = torch.tensor([entry.bbox_xywh for entry in objects]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        box_masks = crop_masks(torch.stack(masks), boxes, CODEC.mask_size)
        labels = [categories.slot_of(entry.category_id) for entry in objects]
        instances = Instances(
            scores=torch.ones(len(objects)),
            labels=torch.tensor(labels, dtype=torch.int64),
            boxes=boxes,
            mask_vectors=CODEC.encode(box_masks),
            codec=CODEC,
            image_size=image_size,
        )
        evaluator.add(image.id, instances, categories)

    expected = evaluator.summarize().to_dict()

    # The two paths decode in NumPy and in torch, whose rounding can turn single pixels.
    assert codec_ceiling(annotations, CODEC, image_ids=image_ids).to_dict() == pytest.approx(
        expected, abs=0.01
    )
