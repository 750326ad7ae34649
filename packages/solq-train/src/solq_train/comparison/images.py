"""Detections of several runs → how good each is on each image, and where they differ most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from solq_train.comparison.runs import FinishedRun
from solq_train.data import CocoFile, CocoImage
from solq_train.metrics.detections import Detection
from solq_train.metrics.image_quality import quality_of, regions_of
from solq_train.progress import Advance


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
        regions = regions_of(image, has_masks)
        differences.append(
            ImageDifference(
                image=image,
                qualities=tuple(quality_of(image, regions, own, has_masks) for own in detections),
                detections=detections,
            )
        )
        advance()
    return sorted(differences, key=lambda difference: -abs(difference.largest))


def _by_image(detections: Sequence[Detection], threshold: float) -> dict[int, list[Detection]]:
    by_image: defaultdict[int, list[Detection]] = defaultdict(list)
    for detection in detections:
        if detection["score"] >= threshold:
            by_image[detection["image_id"]].append(detection)
    return by_image
