"""Two runs on the same images → how far the difference of their AP may be chance.

A paired bootstrap: the images are drawn anew, with repetition, as many as there are, and the AP of
both runs is computed on what was drawn; many times over. It tells what another set of images of the
same kind might have said, not what another training run might.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from solq_train.data import CocoFile
from solq_train.metrics.ap_stats import RECALLS
from solq_train.metrics.coco_ap import by_category
from solq_train.metrics.detections import Detection
from solq_train.metrics.scoring import IouType, evaluation_of, library
from solq_train.progress import Advance


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The AP of a run minus that of the first, and where 95 % of the resamples have it."""

    difference: float
    low: float
    high: float
    share_better: float  # of the resamples in which the run is ahead of the first
    resamples: int

    def __str__(self) -> str:
        percent = 100 * self.share_better
        return (
            f"{self.difference:+.3f}, 95 % of {self.resamples} resamples of the images "
            f"{self.low:+.3f} to {self.high:+.3f}, above 0 in {percent:.0f} %"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class CategoryMatches:
    """The detections of a category, best score first, as COCO's evaluation matches them.

    Places of images are those of the annotation file.
    """

    images: Int[np.ndarray, " detections"]  # place of each one's image
    is_true: Bool[np.ndarray, "thresholds detections"]
    is_false: Bool[np.ndarray, "thresholds detections"]  # neither: it lies in a crowd
    num_objects: Int[np.ndarray, " images"]

    def average_precision(self, weights: Int[np.ndarray, " images"]) -> float | None:
        """The AP where each image counts so many times; None without an object in them."""
        num_objects = int(self.num_objects @ weights)
        if not num_objects:
            return None
        times = weights[self.images]
        drawn = times > 0
        true = np.cumsum(self.is_true[:, drawn] * times[drawn], axis=1)
        false = np.cumsum(self.is_false[:, drawn] * times[drawn], axis=1)
        precision = true / (true + false + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        total = 0.0
        for recall, best in zip(true / num_objects, precision, strict=True):
            places = np.searchsorted(recall, RECALLS)
            total += float(best[places[places < len(best)]].sum())
        return total / (len(precision) * len(RECALLS))


def category_matches(
    coco: CocoFile, detections: Sequence[Detection], iou_type: IouType
) -> list[CategoryMatches]:
    """The matches of each category that has objects, of any size, by pycocotools."""
    places = {image.id: place for place, image in enumerate(coco.images)}
    tools = library("pycocotools")
    matches = []
    for _, document, own in by_category(coco, detections, (iou_type,)):
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            evaluation = evaluation_of(tools, tools.index(document), own, iou_type)
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
            evaluation.evaluate()
        matches.append(_category(evaluation.evalImgs, places))
    return matches


def _category(of_images: Sequence[dict[str, Any]], places: dict[int, int]) -> CategoryMatches:
    """The matches of one category out of what COCOeval keeps of each image with any of it."""
    scores = np.concatenate([found["dtScores"] for found in of_images])
    order = np.argsort(-scores, kind="mergesort")  # as COCOeval does
    is_matched = np.concatenate([found["dtMatches"] > 0 for found in of_images], axis=1)[:, order]
    is_ignored = np.concatenate([found["dtIgnore"] > 0 for found in of_images], axis=1)[:, order]
    own_places = [places[found["image_id"]] for found in of_images]
    num_objects = np.zeros(len(places), dtype=np.int64)
    for place, found in zip(own_places, of_images, strict=True):
        num_objects[place] = np.count_nonzero(np.asarray(found["gtIgnore"]) == 0)
    images = np.repeat(own_places, [len(found["dtScores"]) for found in of_images])
    return CategoryMatches(
        images=images[order],
        is_true=is_matched & ~is_ignored,
        is_false=~is_matched & ~is_ignored,
        num_objects=num_objects,
    )


def mean_ap(matches: Sequence[CategoryMatches], weights: Int[np.ndarray, " images"]) -> float:
    """COCO's AP where each image counts so many times; NaN without any object in them."""
    values = [ap for own in matches if (ap := own.average_precision(weights)) is not None]
    return float(np.mean(values)) if values else float("nan")


def intervals(
    coco: CocoFile,
    detections: Sequence[Sequence[Detection]],
    iou_type: IouType,
    resamples: int,
    advance: Advance,
) -> list[Interval]:
    """How each run's AP differs from the first one's."""
    matches = [category_matches(coco, own, iou_type) for own in detections]
    num_images = len(coco.images)
    rng = np.random.default_rng(0)
    whole = np.ones(num_images, dtype=np.int64)
    aps = []
    for _ in range(resamples):
        weights = rng.multinomial(num_images, np.full(num_images, 1 / num_images))
        aps.append([mean_ap(own, weights) for own in matches])
        advance()
    drawn = np.array(aps)
    first = mean_ap(matches[0], whole)
    found = []
    for number, own in enumerate(matches[1:], start=1):
        differences = drawn[:, number] - drawn[:, 0]
        differences = differences[np.isfinite(differences)]
        if differences.size:
            low, high = np.percentile(differences, [2.5, 97.5])
            found.append(
                Interval(
                    difference=mean_ap(own, whole) - first,
                    low=float(low),
                    high=float(high),
                    share_better=float((differences > 0).mean()),
                    resamples=len(differences),
                )
            )
    return found
