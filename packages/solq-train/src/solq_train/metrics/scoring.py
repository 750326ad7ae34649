"""Objects and detections of one category → precision and recall, by pycocotools or a faster one.

Categories do not know each other in COCO's numbers. Taken one by one, each needs memory only for
itself.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solq_train.metrics.detections import Detection

IouType = Literal["bbox", "segm"]
Evaluator = Literal["pycocotools", "hotcoco"]

# Which entry of a detection each evaluation reads. pycocotools is handed only that one: given both,
# it would take the box's area for the mask's and sort masks into the wrong size classes.
FIELD_OF: dict[IouType, str] = {"bbox": "bbox", "segm": "segmentation"}


@dataclass(frozen=True, kw_only=True, eq=False)
class CategoryScores:
    """What pycocotools accumulates of one category; -1 without an object to find.

    Sizes are all, small, medium and large; limits are 1, 10 and 100 detections an image.
    """

    precision: Float64[np.ndarray, "thresholds recalls sizes limits"]
    recall: Float64[np.ndarray, "thresholds sizes limits"]


@dataclass(frozen=True, kw_only=True)
class Library:
    """One of the libraries with pycocotools' interface."""

    index: Callable[[dict[str, Any]], Any]  # annotation document → its COCO object
    evaluation: Callable[[Any, Any, IouType], Any]  # COCOeval


def library(evaluator: Evaluator) -> Library:
    """The library of this name; ModuleNotFoundError names the extra where it is missing."""
    if evaluator == "pycocotools":
        return Library(index=_indexed, evaluation=COCOeval)
    try:
        import hotcoco
    except ModuleNotFoundError as error:
        msg = "evaluator hotcoco needs hotcoco: pip install 'solq-train[fast-eval]'"
        raise ModuleNotFoundError(msg, name=error.name) from error
    return Library(index=hotcoco.COCO, evaluation=hotcoco.COCOeval)


def score_category(
    tools: Library,
    document: dict[str, Any],
    detections: Sequence[Detection],
    iou_types: Sequence[IouType],
) -> dict[IouType, CategoryScores]:
    """The scores of each asked kind; `document` holds the objects, in COCO's annotation format."""
    found = {}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = tools.index(document)
        for iou_type in iou_types:
            evaluation = evaluation_of(tools, truth, detections, iou_type)
            evaluation.evaluate()
            evaluation.accumulate()
            accumulated = evaluation.eval
            found[iou_type] = CategoryScores(
                # [thresholds, recalls, categories, sizes, limits]
                precision=np.asarray(accumulated["precision"])[:, :, 0],
                recall=np.asarray(accumulated["recall"])[:, 0],
            )
    return found


def evaluation_of(
    tools: Library, truth: Any, detections: Sequence[Detection], iou_type: IouType
) -> Any:
    """The library's COCOeval of detections against the objects of its index `truth`."""
    keys = ("image_id", "category_id", "score", FIELD_OF[iou_type])
    results = [{key: detection[key] for key in keys} for detection in detections]
    # pycocotools' own loadRes needs at least one detection.
    nothing = {**truth.dataset, "annotations": []}
    answer = truth.loadRes(results) if results else tools.index(nothing)
    return tools.evaluation(truth, answer, iou_type)


def _indexed(document: dict[str, Any]) -> COCO:
    index = COCO()
    index.dataset = document  # type: ignore[assignment]
    index.createIndex()
    return index
