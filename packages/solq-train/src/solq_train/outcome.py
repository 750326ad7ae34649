"""What a run leaves: `detections.json`, `summary.json` and `report.html`."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle_masks

from solq_maskcodec import masks_to_rle
from solq_model.atomic import atomic_file
from solq_model.saved import load_model
from solq_train.checkpoint import LAST
from solq_train.config import TrainConfig
from solq_train.data import (
    CocoAnnotation,
    CocoFile,
    CocoImage,
    Split,
    annotation_mask,
    load_image,
    read_coco,
)
from solq_train.data.drawing import Legend, draw_ground_truth
from solq_train.engine import BEST, METRICS, TrainingResult
from solq_train.json_list import json_list
from solq_train.metrics import CocoMetrics, ceiling_numbers, codec_ceiling
from solq_train.provenance import file_sha256, git_state, versions
from solq_train.report import ExamplePicture, RunReport, read_metrics, write_report
from solq_train.report.pictures import draw_detections

DETECTIONS = "detections.json"
SUMMARY = "summary.json"
REPORT = "report.html"
NUM_PICTURES = 8
DRAWN_SCORE = 0.3  # weaker detections are left out of the pictures


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The numbers of a finished run."""

    metrics: CocoMetrics
    ceiling: CocoMetrics | None  # None: a detector of boxes has no codec
    summary: dict[str, Any]


def write_outcome(
    output: Path,
    config: TrainConfig,
    result: TrainingResult,
    validation: Split,
    *,
    title: str,
    command: str,
    epochs: int,
    timing: dict[str, float],
) -> Outcome:
    """Write the detections, the summary and the report of a finished run."""
    ids = set(config.data.image_ids) or None
    codec = load_model(output / BEST).codec
    ceiling = None
    if codec is not None:
        ceiling = codec_ceiling(validation.annotations, codec, image_ids=ids)
    metrics = result.evaluation.metrics
    coco = read_coco(validation.annotations)
    summary = {
        **metrics.to_dict(),
        **ceiling_numbers(ceiling),
        "data": _data(validation, len(ids or coco.images)),
        "steps": result.progress.step,
        "epochs": epochs,
        "train_seconds": round(result.progress.seconds, 2),
        "total_seconds": round(sum(timing.values()), 2),
        "threads": torch.get_num_threads(),
        "weights_sha256": {
            name: file_sha256(output / name / "model.safetensors") for name in (BEST, LAST)
        },
        "versions": versions(),
        "git": git_state(),
    }
    with json_list(output / DETECTIONS) as write:
        for detection in result.evaluation.detections:
            write(detection)
    with atomic_file(output / SUMMARY) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    has_masks = metrics.segm is not None
    pictures = _pictures(coco, validation.images, result.evaluation.detections, ids, has_masks)
    write_report(
        output / REPORT,
        RunReport(
            title=title,
            command=command,
            created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            environment=_environment(),
            config=asdict(config),
            history=read_metrics(output / METRICS),
            metrics=metrics,
            ceiling=ceiling,
            examples=pictures.first,
            worst=pictures.worst,
            timing=timing,
        ),
    )
    return Outcome(metrics=metrics, ceiling=ceiling, summary=summary)


def _data(validation: Split, num_images: int) -> dict[str, Any]:
    """What the run was evaluated on, so that others can be told to be comparable."""
    return {
        "validation": str(validation.annotations),
        "sha256": file_sha256(validation.annotations),
        "folder": str(validation.images),
        "images": num_images,
    }


def _environment() -> dict[str, str]:
    return {
        **versions(),
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    first: list[ExamplePicture]
    worst: list[ExamplePicture]


def _pictures(
    coco: CocoFile,
    folder: Path,
    detections: Sequence[dict[str, Any]],
    image_ids: set[int] | None,
    has_masks: bool,
) -> _Pictures:
    """The first images and the worst ones: those whose objects are covered least."""
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for detection in detections:
        if detection["score"] >= DRAWN_SCORE:
            by_image[detection["image_id"]].append(detection)
    images = [image for image in coco.images if image_ids is None or image.id in image_ids]
    with_objects = [image for image in images if any(not a.is_crowd for a in image.annotations)]
    coverage = {image.id: _coverage(image, by_image[image.id], has_masks) for image in with_objects}
    worst = sorted(with_objects, key=lambda image: coverage[image.id])[:NUM_PICTURES]
    legend = Legend.of(coco)
    iou = f"mean {'mask' if has_masks else 'box'} IoU"

    def draw(chosen: list[CocoImage]) -> list[ExamplePicture]:
        return [
            _example(image, folder, by_image[image.id], legend, f"{iou} {coverage[image.id]:.2f}")
            for image in chosen
        ]

    return _Pictures(first=draw(with_objects[:NUM_PICTURES]), worst=draw(worst))


def _coverage(image: CocoImage, detections: Sequence[dict[str, Any]], has_masks: bool) -> float:
    """Mean over the objects of the best IoU with a detection of the same category.

    Of masks, or of boxes where the network finds no masks.
    """
    size = (image.height, image.width)
    best = []
    for annotation in image.annotations:
        if annotation.is_crowd:
            continue
        same = [d for d in detections if d["category_id"] == annotation.category_id]
        best.append(max(_overlaps(annotation, same, size, has_masks), default=0.0))
    return sum(best) / len(best)


def _overlaps(
    annotation: CocoAnnotation,
    detections: Sequence[dict[str, Any]],
    size: tuple[int, int],
    has_masks: bool,
) -> list[float]:
    """The IoU of each detection with the object."""
    if not detections:
        return []
    truth: Any = np.array([annotation.bbox_xywh])
    found: Any = np.array([detection["bbox"] for detection in detections])
    if has_masks:
        truth = masks_to_rle(annotation_mask(annotation, size)[None])
        found = [detection["segmentation"] for detection in detections]
    overlaps: Any = rle_masks.iou(found, truth, [0])
    return [float(overlap) for overlap in overlaps[:, 0]]


def _example(
    image: CocoImage,
    folder: Path,
    detections: Sequence[dict[str, Any]],
    legend: Legend,
    coverage: str,
) -> ExamplePicture:
    picture = load_image(folder, image)
    objects = [annotation for annotation in image.annotations if not annotation.is_crowd]
    truth = draw_ground_truth(picture, image, legend, only={item.id for item in objects})
    return ExamplePicture(
        title=image.file_name,
        ground_truth=truth,
        prediction=draw_detections(picture, detections, legend),
        caption=f"{len(objects)} objects, {len(detections)} found with a score of at least "
        f"{DRAWN_SCORE}; {coverage}",
    )
