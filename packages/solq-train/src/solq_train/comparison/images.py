"""Detections of several runs → how good each is on each image, and where they differ most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as rle_masks
from scipy.optimize import linear_sum_assignment

from solq_maskcodec import masks_to_rle
from solq_train.comparison.runs import FinishedRun
from solq_train.data import CocoAnnotation, CocoFile, CocoImage, annotation_mask
from solq_train.metrics.detections import Detection
from solq_train.progress import Advance

_IN_CROWD = 0.5  # share of a detection in a crowd region from which on it counts for nothing


@dataclass(frozen=True, kw_only=True)
class ImageDifference:
    """An image, and what each run found there."""

    image: CocoImage
    qualities: tuple[float, ...]
    detections: tuple[list[Detection], ...]  # of at least the threshold's score

    @property
    def largest(self) -> float:
        """The difference to the first run that is furthest from 0."""
        return max((quality - self.qualities[0] for quality in self.qualities[1:]), key=abs)


def image_differences(
    coco: CocoFile, runs: Sequence[FinishedRun], threshold: float, advance: Advance
) -> list[ImageDifference]:
    """All images, those with the largest difference of quality first."""
    found = [_by_image(run.detections, threshold) for run in runs]
    has_masks = all(run.has_masks for run in runs)
    differences = []
    for image in coco.images:
        detections = tuple(one.get(image.id, []) for one in found)
        regions = _regions(image, has_masks)
        differences.append(
            ImageDifference(
                image=image,
                qualities=tuple(_quality(image, regions, own, has_masks) for own in detections),
                detections=detections,
            )
        )
        advance()
    return sorted(differences, key=lambda difference: -abs(difference.largest))


def image_quality(image: CocoImage, detections: Sequence[Detection], *, has_masks: bool) -> float:
    """How well detections agree with the objects of an image, from 0 to 1.

    Objects and detections of one category are paired one to one so that the sum of their IoU is
    largest. The quality is twice this sum, divided by the number of objects and detections: 1 for
    all objects found exactly and nothing else, and 1 where nothing is to find and nothing found.
    Detections without an object that lie in a crowd of their category are left out. It is the
    panoptic quality without its threshold of 0.5.
    """
    return _quality(image, _regions(image, has_masks), detections, has_masks)


def _by_image(detections: Sequence[Detection], threshold: float) -> dict[int, list[Detection]]:
    by_image: defaultdict[int, list[Detection]] = defaultdict(list)
    for detection in detections:
        if detection["score"] >= threshold:
            by_image[detection["image_id"]].append(detection)
    return by_image


def _regions(image: CocoImage, has_masks: bool) -> list[Any]:
    """What each annotation covers, as pycocotools takes it."""
    if not has_masks:
        return [list(annotation.bbox_xywh) for annotation in image.annotations]
    size = (image.height, image.width)
    return [masks_to_rle(annotation_mask(item, size)[None])[0] for item in image.annotations]


def _quality(
    image: CocoImage, regions: Sequence[Any], detections: Sequence[Detection], has_masks: bool
) -> float:
    total, num_detections = 0.0, len(detections)
    for category_id in {detection["category_id"] for detection in detections}:
        own = [detection for detection in detections if detection["category_id"] == category_id]
        pairs = [
            (item, region)
            for item, region in zip(image.annotations, regions, strict=True)
            if item.category_id == category_id
        ]
        matched, ignored = _match(own, pairs, has_masks)
        total += matched
        num_detections -= ignored
    num_objects = sum(not item.is_crowd for item in image.annotations)
    return 2 * total / (num_objects + num_detections) if num_objects + num_detections else 1.0


def _match(
    detections: Sequence[Detection], objects: Sequence[tuple[CocoAnnotation, Any]], has_masks: bool
) -> tuple[float, int]:
    """The sum of the pairs' IoU, and how many detections lie in a crowd."""
    if not objects:
        return 0.0, 0
    found: Any = [d["segmentation" if has_masks else "bbox"] for d in detections]
    crowd = np.array([item.is_crowd for item, _ in objects])
    truth: Any = [region for _, region in objects]
    if not has_masks:
        found, truth = np.array(found), np.array(truth)
    overlaps = np.asarray(rle_masks.iou(found, truth, crowd.astype(np.uint8).tolist()))
    rows, columns = linear_sum_assignment(overlaps[:, ~crowd], maximize=True)
    gains = overlaps[:, ~crowd][rows, columns]
    alone = np.setdiff1d(np.arange(len(detections)), rows[gains > 0])
    in_crowd = overlaps[alone][:, crowd].max(axis=1, initial=0.0) >= _IN_CROWD
    return float(gains.sum()), int(in_crowd.sum())
