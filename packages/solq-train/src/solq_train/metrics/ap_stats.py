"""Records of COCO's numbers: AP and AR, by category and by size, precision over recall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float64

Size = Literal["small", "medium", "large"]
SIZES: tuple[Size, ...] = ("small", "medium", "large")

# pycocotools' own: what it compares overlaps with, and where it reads precision.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)

_MEANINGS = {
    "AP": "mean over IoU 0.50 to 0.95",
    "AP50": "IoU 0.50",
    "AP75": "IoU 0.75",
    "AP_small": "area below 32² pixels",
    "AP_medium": "area 32² to 96² pixels",
    "AP_large": "area above 96² pixels",
    "AR_1": "recall with 1 detection an image",
    "AR_10": "recall with 10 detections an image",
    "AR_100": "recall with 100 detections an image",
    "AR_small": "recall, area below 32² pixels",
    "AR_medium": "recall, area 32² to 96² pixels",
    "AR_large": "recall, area above 96² pixels",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class PrecisionRecall:
    """Precision at 101 recalls of each category, with at most 100 detections an image.

    Precision at a recall is the best at this recall or a higher one, and 0 where it is never
    reached; -1 for a category without objects to find.
    """

    category_ids: tuple[int, ...]
    precision: Float64[np.ndarray, "thresholds recalls categories"]

    def at(
        self, iou: float | None = None, category_id: int | None = None
    ) -> Float64[np.ndarray, " recalls"]:
        """Precision at each of RECALLS: at one IoU or the mean over all ten, of one category or
        the mean over those with objects. The mean of the curve is the AP; -1 without objects.
        """
        values = self.precision
        if iou is not None:
            near = np.flatnonzero(np.isclose(IOU_THRESHOLDS, iou))
            if not near.size:
                msg = f"iou must be one of {IOU_THRESHOLDS.round(2).tolist()}, got {iou}"
                raise ValueError(msg)
            values = values[near]
        if category_id is not None:
            if category_id not in self.category_ids:
                msg = f"category_id must be one of {list(self.category_ids)}, got {category_id}"
                raise ValueError(msg)
            values = values[:, :, [self.category_ids.index(category_id)]]
        # A category without objects has -1 everywhere, at any threshold and recall.
        values = values[:, :, values[0, 0] > -1]
        return values.mean(axis=(0, 2)) if values.size else np.full(len(RECALLS), -1.0)


@dataclass(frozen=True, kw_only=True)
class ApStats:
    """The twelve COCO numbers, in pycocotools' order; -1 where there is no ground truth to find."""

    AP: float
    AP50: float
    AP75: float
    AP_small: float
    AP_medium: float
    AP_large: float
    AR_1: float
    AR_10: float
    AR_100: float
    AR_small: float
    AR_medium: float
    AR_large: float
    by_category: Mapping[int, float]  # category id → AP
    by_category_and_size: Mapping[int, Mapping[Size, float]]  # → AP among objects of this size
    curves: PrecisionRecall = field(compare=False, repr=False)  # the numbers come from it

    def to_dict(self) -> dict[str, float]:
        """The twelve numbers by name."""
        return {name: getattr(self, name) for name in _MEANINGS}


def ap_stats(
    category_ids: tuple[int, ...],
    precision: Float64[np.ndarray, "thresholds recalls categories sizes"],
    recall: Float64[np.ndarray, "thresholds categories sizes limits"],
) -> ApStats:
    """The numbers that pycocotools sums up from what it accumulates; -1 stands for nothing to find.

    Sizes are all, small, medium and large; limits 1, 10 and 100 detections an image, of which
    precision has the last.
    """
    return ApStats(
        AP=_mean_of_valid(precision[..., 0]),
        AP50=_mean_of_valid(precision[0, ..., 0]),
        AP75=_mean_of_valid(precision[5, ..., 0]),
        AP_small=_mean_of_valid(precision[..., 1]),
        AP_medium=_mean_of_valid(precision[..., 2]),
        AP_large=_mean_of_valid(precision[..., 3]),
        AR_1=_mean_of_valid(recall[..., 0, 0]),
        AR_10=_mean_of_valid(recall[..., 0, 1]),
        AR_100=_mean_of_valid(recall[..., 0, 2]),
        AR_small=_mean_of_valid(recall[..., 1, 2]),
        AR_medium=_mean_of_valid(recall[..., 2, 2]),
        AR_large=_mean_of_valid(recall[..., 3, 2]),
        by_category={
            category_id: _mean_of_valid(precision[:, :, place, 0])
            for place, category_id in enumerate(category_ids)
        },
        by_category_and_size={
            category_id: {
                size: _mean_of_valid(precision[:, :, place, number])
                for number, size in enumerate(SIZES, start=1)
            }
            for place, category_id in enumerate(category_ids)
        },
        curves=PrecisionRecall(category_ids=category_ids, precision=precision[..., 0].copy()),
    )


def _mean_of_valid(values: Float64[np.ndarray, ...]) -> float:
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else -1.0


@dataclass(frozen=True, kw_only=True)
class EvaluatedCategory:
    """One category of the annotation file and how many objects (crowds apart) it asks for."""

    id: int
    name: str
    num_objects: int


@dataclass(frozen=True, kw_only=True)
class CocoMetrics:
    """Box and mask AP of one set of detections, and the categories they are averaged over."""

    bbox: ApStats
    segm: ApStats | None  # None: a detector of boxes
    categories: tuple[EvaluatedCategory, ...]

    @property
    def ranking_ap(self) -> float:
        """The AP that models are ranked by: of their masks, of a detector's boxes."""
        return self.bbox.AP if self.segm is None else self.segm.AP

    def to_dict(self) -> dict[str, float]:
        """The 24 numbers under flat names such as `bbox.AP` and `segm.AP50`; 12 without masks."""
        return {
            f"{field}.{name}": value
            for field, stats in (("bbox", self.bbox), ("segm", self.segm))
            if stats is not None
            for name, value in stats.to_dict().items()
        }


def format_table(metrics: CocoMetrics, ceiling: CocoMetrics | None = None) -> list[list[str]]:
    """Rows of text: a header, then name, box, mask and mask ceiling where given, the meaning."""
    columns = {"box": metrics.bbox.to_dict()}
    if metrics.segm is not None:
        columns["mask"] = metrics.segm.to_dict()
    if ceiling is not None and ceiling.segm is not None:
        columns["mask ceiling"] = ceiling.segm.to_dict()
    rows = [["", *columns, "meaning"]]
    for name, meaning in _MEANINGS.items():
        values = [format_ap(column[name]) for column in columns.values()]
        rows.append([name.replace("_", " "), *values, meaning])
    return rows


def format_ap(value: float) -> str:
    """The number with three decimals; a dash where there was no ground truth to find."""
    return "-" if value < 0 else f"{value:.3f}"
