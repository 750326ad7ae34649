"""What a run leaves: `detections.json`, `summary.json` and `report.html`."""

from __future__ import annotations

import datetime
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from solq_model.atomic import atomic_file
from solq_model.saved import load_model
from solq_train.checkpoint import LAST
from solq_train.config import TrainConfig
from solq_train.data import Split
from solq_train.engine import BEST, TrainingResult
from solq_train.journal import METRICS
from solq_train.json_list import json_list
from solq_train.metrics import CocoMetrics, ceiling_numbers, codec_ceiling
from solq_train.metrics.coco_ap import selected_images
from solq_train.metrics.confusion import confusion_matrix
from solq_train.provenance import file_sha256, git_state, versions
from solq_train.report import RunReport, read_metrics, write_report
from solq_train.report.examples import attention_pictures, choose_examples

DETECTIONS = "detections.json"
SUMMARY = "summary.json"
REPORT = "report.html"
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
    model = load_model(output / BEST)
    codec = model.codec
    ceiling = None
    if codec is not None:
        ceiling = codec_ceiling(validation.annotations, codec, image_ids=ids)
    metrics = result.evaluation.metrics
    coco = selected_images(validation.annotations, ids)
    summary = {
        **metrics.to_dict(),
        **ceiling_numbers(ceiling),
        "data": _data(validation, len(coco.images)),
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
    detections = result.evaluation.detections
    examples = choose_examples(
        coco, validation.images, detections, threshold=DRAWN_SCORE, has_masks=has_masks
    )
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
            confusion=confusion_matrix(
                coco, detections, threshold=DRAWN_SCORE, has_masks=has_masks
            ),
            threshold=DRAWN_SCORE,
            examples=examples.first,
            best=examples.best,
            worst=examples.worst,
            attention=attention_pictures(model, examples.best_images, validation.images),
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
