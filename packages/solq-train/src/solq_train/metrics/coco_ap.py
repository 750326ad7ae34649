"""Instances → AP: the COCO numbers of boxes and masks, as pycocotools computes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from solq_model.categories import Categories
from solq_model.predict import known_categories
from solq_model.records import Instances
from solq_model.result import coco_detections
from solq_train.data.coco import CocoAnnotation, CocoFile, read_coco
from solq_train.metrics.ap_stats import (
    IOU_THRESHOLDS,
    RECALLS,
    ApStats,
    CocoMetrics,
    EvaluatedCategory,
    ap_stats,
)
from solq_train.metrics.detections import Detection, Detections
from solq_train.metrics.scoring import (
    FIELD_OF,
    CategoryScores,
    Evaluator,
    IouType,
    library,
    score_category,
)


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
        evaluator: Evaluator = "pycocotools",
    ) -> None:
        library(evaluator)  # a missing one is told before the first image
        self._evaluator = evaluator
        self._has_masks = has_masks
        self._coco = selected_images(annotations, image_ids)
        self._images = {image.id: image for image in self._coco.images}
        self._added: set[int] = set()
        self.detections = Detections()

    def add(self, image_id: int, instances: Instances, categories: Categories) -> None:
        """Takes the instances of one image; class slots without a category are dropped."""
        self._check(image_id, instances)
        self._added.add(image_id)
        kept, kept_categories = known_categories(instances, categories)
        category_ids = [category.id for category in kept_categories]
        self.detections.extend(coco_detections(image_id, kept, category_ids))

    def summarize(self) -> CocoMetrics:
        """The COCO numbers of everything added so far."""
        return coco_metrics(
            self._coco, self.detections, has_masks=self._has_masks, evaluator=self._evaluator
        )

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
    annotations: Path,
    detections: Sequence[Detection],
    iou_types: Sequence[IouType],
    *,
    evaluator: Evaluator = "pycocotools",
) -> dict[IouType, ApStats]:
    """The numbers of each asked kind, for COCO detection dicts with the entry of that kind."""
    return _evaluate(read_coco(annotations), detections, iou_types, evaluator)


def coco_metrics(
    coco: CocoFile,
    detections: Sequence[Detection],
    *,
    has_masks: bool = True,
    evaluator: Evaluator = "pycocotools",
) -> CocoMetrics:
    """Box and mask AP of detections that have both entries; without `has_masks` of boxes alone."""
    iou_types: tuple[IouType, ...] = ("bbox", "segm") if has_masks else ("bbox",)
    stats = _evaluate(coco, detections, iou_types, evaluator)
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
    coco: CocoFile,
    detections: Sequence[Detection],
    iou_types: Sequence[IouType],
    evaluator: Evaluator,
) -> dict[IouType, ApStats]:
    tools = library(evaluator)
    scores: dict[int, Mapping[IouType, CategoryScores]] = {
        category_id: score_category(tools, document, own, iou_types)
        for category_id, document, own in by_category(coco, detections, iou_types)
    }
    return {
        iou_type: _stats(coco, {number: found[iou_type] for number, found in scores.items()})
        for iou_type in iou_types
    }


def by_category(
    coco: CocoFile, detections: Sequence[Detection], iou_types: Sequence[IouType]
) -> Iterator[tuple[int, dict[str, Any], list[Detection]]]:
    """The id, an annotation document and the detections of each category that has objects."""
    places = _places_by_category(coco, detections, iou_types)
    objects = _objects_by_category(coco)
    sizes = {image.id: (image.height, image.width) for image in coco.images}
    for category_id in sorted({category["id"] for category in coco.categories}):
        if category_id in objects:
            own = [detections[place] for place in places[category_id]]
            yield category_id, _document(category_id, objects[category_id], own, sizes), own


def _places_by_category(
    coco: CocoFile, detections: Sequence[Detection], iou_types: Sequence[IouType]
) -> defaultdict[int, list[int]]:
    """Where the detections of each category are; refuses those that cannot be scored."""
    image_ids = {image.id for image in coco.images}
    keys = ("image_id", "category_id", "score", *(FIELD_OF[iou_type] for iou_type in iou_types))
    places: defaultdict[int, list[int]] = defaultdict(list)
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
        places[detection["category_id"]].append(index)
    return places


def _objects_by_category(coco: CocoFile) -> dict[int, list[tuple[int, CocoAnnotation]]]:
    """The objects of each category that has any, with their images' ids."""
    objects: dict[int, list[tuple[int, CocoAnnotation]]] = {}
    for image in coco.images:
        for annotation in image.annotations:
            objects.setdefault(annotation.category_id, []).append((image.id, annotation))
    return objects


def _document(
    category_id: int,
    objects: Sequence[tuple[int, CocoAnnotation]],
    detections: Sequence[Detection],
    sizes: Mapping[int, tuple[int, int]],
) -> dict[str, Any]:
    """The objects of a category as an annotation document, numbered from 1.

    COCOeval keeps the id of the matched annotation and reads 0 as "no match", so a file whose ids
    start at 0 would lose one object. Images without an object or a detection count for nothing.
    """
    annotations = [
        {
            "id": number,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": list(annotation.bbox_xywh),
            "segmentation": annotation.segmentation,
            "area": annotation.area,
            "iscrowd": int(annotation.is_crowd),
        }
        for number, (image_id, annotation) in enumerate(objects, start=1)
    ]
    image_ids = {entry["image_id"] for entry in (*annotations, *detections)}
    return {
        "images": [
            {"id": image_id, "height": sizes[image_id][0], "width": sizes[image_id][1]}
            for image_id in sorted(image_ids)
        ],
        "categories": [{"id": category_id, "name": str(category_id)}],
        "annotations": annotations,
    }


def _stats(coco: CocoFile, scores: Mapping[int, CategoryScores]) -> ApStats:
    """The numbers over all categories; those without an object stay at -1."""
    category_ids = tuple(sorted({int(category["id"]) for category in coco.categories}))
    precision = np.full((len(IOU_THRESHOLDS), len(RECALLS), len(category_ids), 4), -1.0)
    recall = np.full((len(IOU_THRESHOLDS), len(category_ids), 4, 3), -1.0)
    for place, category_id in enumerate(category_ids):
        if category_id in scores:
            precision[:, :, place] = scores[category_id].precision[..., -1]
            recall[:, place] = scores[category_id].recall
    return ap_stats(category_ids, precision, recall)
