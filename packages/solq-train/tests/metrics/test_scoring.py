"""Taken category by category, and by the faster library, the numbers are those of pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solq_maskcodec import DCTMaskCodec, crop_masks
from solq_train.data import read_coco
from solq_train.data.coco import annotation_mask
from solq_train.data.dataset import clipped_boxes, has_area
from solq_train.metrics import CocoEvaluator, evaluate_detections
from solq_train.metrics.scoring import FIELD_OF

EVALUATORS = ("pycocotools", "hotcoco")
KINDS = ("bbox", "segm")


def assert_equal_to_pycocotools(
    annotations: Path, detections: list[dict[str, Any]], kind: str, evaluator: str
) -> None:
    """All 12 numbers, all curves, and the AP of each category and size, to 1e-12."""
    results = [
        {key: found[key] for key in ("image_id", "category_id", "score", FIELD_OF[kind])}
        for found in detections
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        if results:
            answer = truth.loadRes(results)
        else:
            answer = COCO()
            answer.dataset = {**truth.dataset, "annotations": []}
            answer.createIndex()
        expected = COCOeval(truth, answer, kind)
        expected.evaluate()
        expected.accumulate()
        expected.summarize()
    found = evaluate_detections(annotations, detections, (kind,), evaluator=evaluator)[kind]
    precision = expected.eval["precision"][..., -1]

    assert list(found.to_dict().values()) == pytest.approx(expected.stats, rel=0, abs=1e-12)
    assert found.curves.category_ids == tuple(expected.params.catIds)
    np.testing.assert_allclose(found.curves.precision, precision[..., 0], rtol=0, atol=1e-12)
    for place, category_id in enumerate(expected.params.catIds):
        by_size = [found.by_category[category_id]]
        by_size += found.by_category_and_size[category_id].values()
        for size, ap in enumerate(by_size):
            values = precision[:, :, place, size]
            mean = values[values > -1].mean() if values.max() > -1 else -1
            assert ap == pytest.approx(mean, rel=0, abs=1e-12)


@pytest.mark.parametrize("evaluator", EVALUATORS)
@pytest.mark.parametrize("kind", KINDS)
def test_on_the_coco_example(coco_val2014_100, kind, evaluator):
    annotations = coco_val2014_100 / "annotations" / "instances_val2014_100.json"
    results = coco_val2014_100 / "results" / f"instances_val2014_fake{kind}100_results.json"
    assert_equal_to_pycocotools(annotations, json.loads(results.read_text()), kind, evaluator)


@pytest.mark.parametrize("evaluator", EVALUATORS)
@pytest.mark.parametrize("kind", KINDS)
def test_on_noisy_predictions_of_real_objects(coco_mini_cc, noisy_predictions, kind, evaluator):
    assert_equal_to_pycocotools(coco_mini_cc, noisy_predictions, kind, evaluator)


@pytest.mark.parametrize("evaluator", EVALUATORS)
@pytest.mark.parametrize("seed", range(40))
def test_on_crowds_equal_scores_empty_images_and_any_ids(tmp_path, seed, evaluator):
    document, detections = scene(np.random.default_rng(seed))
    path = tmp_path / f"scene {seed}.json"
    path.write_text(json.dumps(document))
    for kind in KINDS:
        assert_equal_to_pycocotools(path, detections, kind, evaluator)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_more_than_a_hundred_of_one_category_in_an_image(rectangles, evaluator):
    found = [
        {"image_id": 30, "category_id": 23, "score": 0.5, "bbox": [20 + place % 7, 20, 40, 20]}
        for place in range(150)
    ]
    document = json.loads(rectangles.read_text())
    for entry in document["annotations"]:
        entry["id"] += 1  # plain pycocotools takes 0 for no match
    rectangles.write_text(json.dumps(document))
    assert_equal_to_pycocotools(rectangles, found, "bbox", evaluator)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_nothing_is_printed(rectangles, evaluator, capfd):
    evaluate_detections(rectangles, [], KINDS, evaluator=evaluator)
    assert capfd.readouterr() == ("", "")


def test_a_missing_library_is_told_before_the_first_image_and_names_the_extra(
    rectangles, monkeypatch
):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'solq-train\[fast-eval\]'"):
        CocoEvaluator(rectangles, evaluator="hotcoco")


@pytest.fixture
def noisy_predictions(coco_mini_cc: Path) -> list[dict[str, Any]]:
    """Up to 40 detections an image: its objects by a codec, with noise, ties and wrong classes."""
    codec = DCTMaskCodec(num_coefficients=64, mask_size=32)
    random = torch.Generator().manual_seed(0)
    detections = []
    for image in read_coco(coco_mini_cc).images[:30]:
        size = (image.height, image.width)
        objects = [entry for entry in image.annotations if not entry.is_crowd]
        boxes = clipped_boxes(objects, size)
        kept = has_area(boxes).nonzero()[:, 0]
        if not len(kept):
            continue
        masks = torch.stack([torch.from_numpy(annotation_mask(entry, size)) for entry in objects])
        vectors = codec.encode(crop_masks(masks, boxes, codec.mask_size))
        chosen = kept[torch.randint(len(kept), (40,), generator=random)]
        noise = torch.randn(40, 64, generator=random)
        shift = 1 + 0.03 * torch.randn(40, 4, generator=random)
        found = boxes[chosen] * shift
        found[:, 2:] = torch.maximum(found[:, 2:], found[:, :2] + 1)
        rles = codec.decode_to_rle(vectors[chosen] + noise, found, size)
        scores = (torch.rand(40, generator=random) * 10).round() / 10
        for place, (x0, y0, x1, y1), score, rle in zip(
            chosen.tolist(), found.tolist(), scores.tolist(), rles, strict=True
        ):
            other = objects[int(torch.randint(len(objects), (), generator=random))]
            category = objects[place] if score > 0.2 else other
            detections.append(
                {
                    "image_id": image.id,
                    "category_id": category.category_id,
                    "score": score,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": rle,
                }
            )
    return detections


def scene(random: np.random.Generator) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An annotation document and detections, with whatever may be special about them."""
    height, width = (int(side) for side in random.integers(20, 90, 2))
    large = 10**10 * int(random.integers(2))
    image_ids = (random.permutation(30)[: random.integers(1, 7)] + large).tolist()
    category_ids = random.permutation(9)[: random.integers(1, 5)].tolist()
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image_id in image_ids:
        for _ in range(random.integers(0, 6)):
            box = random_box(random, height, width)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(random.choice(category_ids)),
                    "bbox": box,
                    "segmentation": random_segmentation(random, box, height, width),
                    # Limits between the sizes, and areas that are not those of the mask.
                    "area": float(random.choice([box[2] * box[3], 32**2, 96**2, 5.5])),
                    "iscrowd": int(random.random() < 0.2),
                }
            )
    for _ in range(random.choice([0, 5, 40])):
        image_id = int(random.choice(image_ids))
        box = random_box(random, height, width)
        own = [entry for entry in annotations if entry["image_id"] == image_id]
        category_id = int(random.choice(category_ids))
        if own and random.random() < 0.7:
            entry = own[random.integers(len(own))]
            box, category_id = list(entry["bbox"]), entry["category_id"]
            box[2] += float(random.choice([0, 1]))
        detections.append(
            {
                "image_id": image_id,
                "category_id": category_id,
                "score": float(random.choice([0, 0.5, 0.5, 0.9, 1, random.random()])),
                "bbox": box,
                "segmentation": filled(random, box, height, width),
            }
        )
    return {
        "images": [
            {"id": image_id, "file_name": f"{image_id}.png", "height": height, "width": width}
            for image_id in image_ids
        ],
        "categories": [{"id": number, "name": f"kind {number}"} for number in category_ids],
        "annotations": annotations,
    }, detections


def random_box(random: np.random.Generator, height: int, width: int) -> list[float]:
    x, y = int(random.integers(width - 3)), int(random.integers(height - 3))
    w, h = random.integers(1, width - x - 1), random.integers(1, height - y - 1)
    return [x + 0.5 * int(random.integers(2)), float(y), float(w), float(h)]


def random_segmentation(
    random: np.random.Generator, box: list[float], height: int, width: int
) -> Any:
    x, y, w, h = box
    triangle = [x, y, x + w, y, x, y + h]
    other = [x, y, x + w, y + h, x, y + h]
    kinds = [[triangle], [triangle, other], filled(random, box, height, width)]
    return kinds[random.integers(3)]


def filled(random: np.random.Generator, box: list[float], height: int, width: int) -> Any:
    """Run lengths of a box with some pixels missing."""
    mask = np.zeros((height, width), np.uint8, order="F")
    x, y, w, h = (int(value) for value in box)
    mask[y : y + h, x : x + w] = random.random(mask[y : y + h, x : x + w].shape) < 0.95
    rle = rle_masks.encode(mask)
    return {"size": [height, width], "counts": rle["counts"].decode()}
