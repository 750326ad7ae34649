"""Instances → AP: the COCO numbers of boxes and masks, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solq_model.categories import Categories
from solq_model.predict import known_categories
from solq_model.records import Instances
from solq_model.result import coco_detections
from solq_train.data.coco import CocoFile, read_coco
from solq_train.metrics.ap_stats import (
    AP_NAMES,
    SIZES,
    ApStats,
    CocoMetrics,
    EvaluatedCategory,
    PrecisionRecall,
)

IouType = Literal["bbox", "segm"]
Detection = dict[str, Any]  # COCO's result format

# Which entry of a detection each evaluation reads. pycocotools is handed only that one: given both,
# it would take the box's area for the mask's and sort masks into the wrong size classes.
_FIELD_OF: dict[IouType, str] = {"bbox": "bbox", "segm": "segmentation"}


class CocoEvaluator:
    """Collects detections image by image, as run lengths, and gives their COCO numbers.

    Images that were never added count as images without detections. `image_ids` narrows the
    evaluation to these images of the annotation file; without `has_masks` only boxes count.
    """

    def __init__(
        self,
        annotations: Path,
        *,
        image_ids: Collection[int] | None = None,
        has_masks: bool = True,
    ) -> None:
        self._has_masks = has_masks
        self._coco = selected_images(annotations, image_ids)
        self._images = {image.id: image for image in self._coco.images}
        self._added: set[int] = set()
        self.detections: list[Detection] = []

    def add(self, image_id: int, instances: Instances, categories: Categories) -> None:
        """Takes the instances of one image; class slots without a category are dropped."""
        self._check(image_id, instances)
        self._added.add(image_id)
        kept, kept_categories = known_categories(instances, categories)
        category_ids = [category.id for category in kept_categories]
        self.detections += coco_detections(image_id, kept, category_ids)

    def summarize(self) -> CocoMetrics:
        """The COCO numbers of everything added so far."""
        return coco_metrics(self._coco, self.detections, has_masks=self._has_masks)

    def _check(self, image_id: int, instances: Instances) -> None:
        if image_id not in self._images:
            msg = f"image_id must be one of the images of {self._coco.path}, got {image_id}"
            raise ValueError(msg)
        if image_id in self._added:
            msg = f"image_id must be added once, got {image_id} again"
            raise ValueError(msg)
        # pycocotools gives masks of different sizes an IoU of -1 without a word.
        expected = (self._images[image_id].height, self._images[image_id].width)
        if tuple(instances.image_size) != expected:
            msg = (
                f"instances.image_size must be (height, width) {expected} of image {image_id}, "
                f"got {tuple(instances.image_size)}"
            )
            raise ValueError(msg)


def selected_images(annotations: Path, image_ids: Collection[int] | None) -> CocoFile:
    """The records of the annotation file, narrowed to these images unless `image_ids` is None."""
    coco = read_coco(annotations)
    if image_ids is None:
        return coco
    unknown = set(image_ids) - {image.id for image in coco.images}
    if unknown:
        msg = f"image_ids must be images of {annotations}, got unknown {sorted(unknown)[:5]}"
        raise ValueError(msg)
    wanted = frozenset(image_ids)
    return replace(coco, images=tuple(image for image in coco.images if image.id in wanted))


def evaluate_detections(
    annotations: Path, detections: Sequence[Detection], iou_types: Sequence[IouType]
) -> dict[IouType, ApStats]:
    """The numbers of each asked kind, for COCO detection dicts with the entry of that kind."""
    return _evaluate(read_coco(annotations), detections, iou_types)


def coco_metrics(
    coco: CocoFile, detections: Sequence[Detection], *, has_masks: bool = True
) -> CocoMetrics:
    """Box and mask AP of detections that have both entries; without `has_masks` of boxes alone."""
    stats = _evaluate(coco, detections, ("bbox", "segm") if has_masks else ("bbox",))
    return CocoMetrics(bbox=stats["bbox"], segm=stats.get("segm"), categories=_categories(coco))


def _categories(coco: CocoFile) -> tuple[EvaluatedCategory, ...]:
    counts = dict.fromkeys((category["id"] for category in coco.categories), 0)
    for image in coco.images:
        for annotation in image.annotations:
            counts[annotation.category_id] += not annotation.is_crowd
    return tuple(
        EvaluatedCategory(
            id=category["id"], name=category["name"], num_objects=counts[category["id"]]
        )
        for category in coco.categories
    )


def _evaluate(
    coco: CocoFile, detections: Sequence[Detection], iou_types: Sequence[IouType]
) -> dict[IouType, ApStats]:
    _check_detections(coco, detections, iou_types)
    ground_truth = _ground_truth(coco)
    return {iou_type: _stats(ground_truth, detections, iou_type) for iou_type in iou_types}


def _check_detections(
    coco: CocoFile, detections: Sequence[Detection], iou_types: Sequence[IouType]
) -> None:
    image_ids = {image.id for image in coco.images}
    keys = ("image_id", "category_id", "score", *(_FIELD_OF[iou_type] for iou_type in iou_types))
    for index, detection in enumerate(detections):
        missing = [key for key in keys if key not in detection]
        if missing:
            msg = f"detections[{index}] must have {', '.join(keys)}, got no {', '.join(missing)}"
            raise ValueError(msg)
        if detection["image_id"] not in image_ids:
            msg = (
                f"detections[{index}].image_id must be an image of {coco.path}, "
                f"got {detection['image_id']}"
            )
            raise ValueError(msg)


def _ground_truth(coco: CocoFile) -> COCO:
    """The records as pycocotools' own object, with annotations numbered from 1.

    COCOeval keeps the id of the matched annotation and reads 0 as "no match", so a file whose ids
    start at 0 would lose one object.
    """
    entries: list[dict[str, Any]] = []
    for image in coco.images:
        for annotation in image.annotations:
            entries.append(
                {
                    "id": len(entries) + 1,
                    "image_id": image.id,
                    "category_id": annotation.category_id,
                    "bbox": list(annotation.bbox_xywh),
                    "segmentation": annotation.segmentation,
                    "area": annotation.area,
                    "iscrowd": int(annotation.is_crowd),
                }
            )
    images = [{"id": i.id, "height": i.height, "width": i.width} for i in coco.images]
    categories = [{"id": category["id"]} for category in coco.categories]
    return _indexed({"images": images, "categories": categories, "annotations": entries})


def _indexed(dataset: dict[str, Any]) -> COCO:
    index = COCO()
    index.dataset = dataset  # type: ignore[assignment]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        index.createIndex()
    return index


def _stats(ground_truth: COCO, detections: Sequence[Detection], iou_type: IouType) -> ApStats:
    keys = ("image_id", "category_id", "score", _FIELD_OF[iou_type])
    results = [{key: detection[key] for key in keys} for detection in detections]
    with contextlib.redirect_stdout(io.StringIO()):
        # Its own loadRes needs at least one detection.
        nothing = {**ground_truth.dataset, "annotations": []}
        found = ground_truth.loadRes(results) if results else _indexed(nothing)
        evaluation = COCOeval(ground_truth, found, iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    category_ids = tuple(map(int, evaluation.params.catIds))
    # [thresholds, recalls, categories, sizes: all, small, medium, large, detections an image]
    precision = evaluation.eval["precision"][..., -1]
    numbers = dict(zip(AP_NAMES, evaluation.stats.tolist(), strict=True))
    return ApStats(
        **numbers,
        by_category={
            category_id: _mean_of_valid(precision[:, :, index, 0])
            for index, category_id in enumerate(category_ids)
        },
        by_category_and_size={
            category_id: {
                size: _mean_of_valid(precision[:, :, index, place])
                for place, size in enumerate(SIZES, start=1)
            }
            for index, category_id in enumerate(category_ids)
        },
        curves=PrecisionRecall(category_ids=category_ids, precision=precision[..., 0].copy()),
    )


def _mean_of_valid(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else -1.0
