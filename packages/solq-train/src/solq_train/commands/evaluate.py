"""`solq evaluate`: a model on a data set → the COCO table."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from solq_model.atomic import atomic_file
from solq_train.commands.output import metrics_table, results_folder
from solq_train.data import Split, find_split
from solq_train.evaluation import evaluate, image_ids_of
from solq_train.json_list import json_list
from solq_train.metrics import Evaluator, ceiling_numbers, codec_ceiling
from solq_train.models import open_model
from solq_train.run import resolve_device


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate a model on a data set by pycocotools: boxes, masks, and the codec's ceiling.

    With OUTPUT, also writes `detections.json` (COCO results) and `metrics.json`.
    """

    model: str
    """Saved model (a folder such as runs/demo/best), hub id (owner/name), or published file."""
    data: Path
    """Data set folder in COCO layout."""
    split: Literal["train", "val"] = "val"
    """Which of its two parts."""
    output: Path | None = None
    """Folder for detections and numbers; must be new or empty."""
    top_k: int = 100
    """Detections per image."""
    batch_size: int = 1
    """Images at a time; results do not depend on it."""
    num_workers: int = 0
    """Processes that load images; 0 loads them in this one."""
    evaluator: Evaluator = "pycocotools"
    """What computes the numbers; hotcoco gives the same sooner, and is an extra (fast-eval)."""
    limit: int | None = None
    """Only the first so many images."""
    device: str = "auto"
    """auto: the GPU where there is one, else the CPU."""

    def run(self, console: Console) -> int:
        """Evaluate; the exit code."""
        split = find_split(self.data, self.split)
        with results_folder(self.output) if self.output is not None else nullcontext():
            self._evaluate(split, console)
        return 0

    def _evaluate(self, split: Split, console: Console) -> None:
        model = open_model(self.model, split.annotations).to(resolve_device(self.device))
        ids = image_ids_of(split.annotations, self.limit)
        evaluation = evaluate(
            model,
            split,
            console,
            top_k=self.top_k,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            evaluator=self.evaluator,
            image_ids=ids,
        )
        ceiling = None
        if model.codec is not None:
            with console.status("codec ceiling"):
                ceiling = codec_ceiling(split.annotations, model.codec, image_ids=ids)
        console.print(metrics_table(evaluation.metrics, ceiling))
        if self.output is not None:
            with json_list(self.output / "detections.json") as write:
                for detection in evaluation.detections:
                    write(detection)
            numbers = evaluation.metrics.to_dict() | ceiling_numbers(ceiling)
            with atomic_file(self.output / "metrics.json") as temporary:
                temporary.write_text(json.dumps(numbers), encoding="utf-8")
            for name in ("detections.json", "metrics.json"):
                console.print(f"wrote {self.output / name}", highlight=False)
