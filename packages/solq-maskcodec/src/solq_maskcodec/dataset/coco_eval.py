"""Annotations and masks found → COCO's mask AP by size, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .annotations import AnnotatedObject, AnnotationFile

if TYPE_CHECKING:
    from pycocotools.coco import COCO

Rle = dict[str, Any]

# COCO's sizes, in pixels of an object's area. The names and their order are those of COCOeval.
SIZES = ("all", "small", "medium", "large")
_LEAST_MEDIUM, _LEAST_LARGE = 32**2, 96**2

# Detections of a category in an image that COCO looks at.
_COCO_LIMIT = 100


class MaskAp(NamedTuple):
    """Average precisions in 0..1, NaN where there is no object to find."""

    ap: float  # mean over IoU 0.50 to 0.95
    ap50: float
    ap75: float


def require_pycocotools() -> None:
    """Raises ImportError, with what to install, where pycocotools is absent."""
    try:
        import pycocotools  # noqa: F401
    except ImportError as error:
        msg = 'the oracle AP needs pycocotools: pip install "solq-maskcodec[coco]"'
        raise ImportError(msg, name=error.name) from error


def size_of(area: float) -> str:
    """COCO's word for objects of this area in pixels."""
    return "small" if area < _LEAST_MEDIUM else "medium" if area < _LEAST_LARGE else "large"


def object_area(item: AnnotatedObject, rle: Rle) -> float:
    """The pixels of an object: what the file says, or else those of its RLE."""
    from pycocotools.mask import area

    return item.area if item.area is not None else float(area(rle))  # type: ignore[call-overload]


def rle_ious(rles: Sequence[Rle], others: Sequence[Rle]) -> NDArray[np.float64]:
    """IoU of each RLE with the other one at its place, [instances]; 0 for two without a pixel."""
    from pycocotools.mask import iou

    pairs: Any = zip(rles, others, strict=True)
    overlaps: list[Any] = [iou([one], [other], [0]) for one, other in pairs]
    return np.array([overlap[0, 0] for overlap in overlaps], np.float64)


def ground_truth(file: AnnotationFile, rles: Mapping[int, Rle]) -> COCO:
    """The annotations, with the RLE of each by its id, as pycocotools' own object.

    They are numbered anew from 1: COCOeval keeps the id of the matched annotation and reads 0 as
    "no match", so a file whose ids start at 0 would lose an object.
    """
    entries = [
        {
            "image_id": image.id,
            "category_id": item.category_id,
            "segmentation": rles[item.id],
            "area": object_area(item, rles[item.id]),
            "iscrowd": int(item.is_crowd),
        }
        for image in file.images
        for item in image.objects
    ]
    for index, entry in enumerate(entries):
        entry["id"] = index + 1
    sizes = [
        {"id": image.id, "height": image.size[0], "width": image.size[1]} for image in file.images
    ]
    categories = [{"id": category_id} for category_id in file.category_ids]
    return _indexed({"images": sizes, "categories": categories, "annotations": entries})


def mask_ap(truth: COCO, results: Sequence[Mapping[str, Any]]) -> dict[str, MaskAp]:
    """AP of results (image_id, category_id, segmentation, score), at least one, for each size.

    All of a category in an image count, also where there are more than the 100 that COCO looks at.
    """
    from pycocotools.cocoeval import COCOeval

    per_image = Counter((result["image_id"], result["category_id"]) for result in results)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = COCOeval(truth, truth.loadRes([dict(result) for result in results]), "segm")
        evaluation.params.maxDets = [max(_COCO_LIMIT, *per_image.values())]
        evaluation.evaluate()
        evaluation.accumulate()
    # [thresholds, recalls, categories, sizes, limits], -1 where a category has no object
    precision = evaluation.eval["precision"][..., 0]
    of_iou = {round(float(iou), 2): index for index, iou in enumerate(evaluation.params.iouThrs)}
    return {
        size: MaskAp(
            _mean(precision[..., index]),
            _mean(precision[of_iou[0.5], ..., index]),
            _mean(precision[of_iou[0.75], ..., index]),
        )
        for index, size in enumerate(SIZES)
    }


def _indexed(dataset: dict[str, Any]) -> COCO:
    from pycocotools.coco import COCO

    index = COCO()
    index.dataset = dataset  # type: ignore[assignment]
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    return index


def _mean(precision: NDArray[np.float64]) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else float("nan")
