"""Run folders → what the runs left, and the data that all of them were evaluated on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solq_train.data import CocoFile, DataError, Split, find_split
from solq_train.data.defects import shown
from solq_train.journal import METRICS
from solq_train.json_list import read_list
from solq_train.metrics import CocoMetrics, coco_metrics
from solq_train.metrics.coco_ap import selected_images
from solq_train.metrics.detections import Detections
from solq_train.outcome import DETECTIONS, SUMMARY
from solq_train.provenance import file_sha256
from solq_train.report import History, read_metrics
from solq_train.run_file import CONFIG

_DATA_KEYS = {"validation", "sha256", "folder", "images"}


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What a run left."""

    folder: Path
    name: str  # its own among the runs it is compared with
    summary: dict[str, Any]
    config: dict[str, Any]  # nested
    history: History
    detections: Detections

    @property
    def has_masks(self) -> bool:
        """Whether the network finds masks."""
        return "segm.AP" in self.summary

    @property
    def data(self) -> dict[str, Any]:
        """What it was evaluated on, in the words of its summary."""
        data: dict[str, Any] = self.summary["data"]
        return data

    @property
    def image_ids(self) -> list[int] | None:
        """The images it was evaluated on; None for all of the file."""
        return self.config.get("data", {}).get("image_ids") or None

    @property
    def evaluated_on(self) -> str:
        """The data in a few words."""
        return f"{self.data['images']} images of {self.data['validation']}"

    def metrics(self, coco: CocoFile) -> CocoMetrics:
        """The COCO numbers of its detections, of each category too."""
        return coco_metrics(coco, self.detections, has_masks=self.has_masks)


@dataclass(frozen=True, kw_only=True)
class CommonData:
    """The images that runs were evaluated on, and where they are."""

    coco: CocoFile
    images: Path


def read_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """The runs of these folders; ValueError for one that is no finished run."""
    if len(folders) < 2:
        msg = f"runs must be at least 2, got {len(folders)}"
        raise ValueError(msg)
    return [_read_run(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, or the whole paths of those that share one; each path once."""
    twice = [str(folder) for folder, n in Counter(f.resolve() for f in folders).items() if n > 1]
    if twice:
        msg = f"runs must be distinct, got {twice[0]} twice"
        raise ValueError(msg)
    counts = Counter(folder.resolve().name for folder in folders)
    return [f.resolve().name if counts[f.resolve().name] == 1 else str(f) for f in folders]


def _read_run(folder: Path, name: str) -> FinishedRun:
    if not folder.is_dir():
        msg = f"run {folder}: no such folder"
        raise ValueError(msg)
    if not (folder / CONFIG).is_file():
        msg = f"run {folder}: expected the folder of a run, found no {CONFIG} in it"
        raise ValueError(msg)
    missing = [n for n in (METRICS, DETECTIONS, SUMMARY) if not (folder / n).is_file()]
    if missing:
        msg = f"run {folder}: not finished, or of an earlier version: no {' and no '.join(missing)}"
        raise ValueError(msg)
    summary = _read_json(folder / SUMMARY)
    data = summary.get("data")
    if not isinstance(data, dict) or not data.keys() >= _DATA_KEYS:
        msg = f"run {folder}: {SUMMARY} must say in 'data' what the run was evaluated on"
        raise ValueError(msg)
    history = read_metrics(folder / METRICS)
    reached = max((record["step"] for record in history.training), default=0)
    if reached > summary.get("steps", 0):
        # Resumed after its end with more steps to do.
        msg = f"run {folder}: not finished, it is beyond the step that its {SUMMARY} is of"
        raise ValueError(msg)
    return FinishedRun(
        folder=folder,
        name=name,
        summary=summary,
        config=_read_json(folder / CONFIG),
        history=history,
        detections=_read_detections(folder / DETECTIONS, has_masks="segm.AP" in summary),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path}: must be JSON, but: {error}"
        raise ValueError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path}: must be an object, got {type(content).__name__}"
        raise ValueError(msg)
    return content


def _read_detections(path: Path, *, has_masks: bool) -> Detections:
    keys = {"image_id", "category_id", "score", "bbox"} | ({"segmentation"} if has_masks else set())
    found = Detections()
    try:
        with path.open("rb") as file:
            for index, entry in enumerate(read_list(file)):
                if not isinstance(entry, dict) or entry.keys() != keys:
                    msg = f"entry {index} must have {', '.join(sorted(keys))}, got {shown(entry)}"
                    raise ValueError(msg)
                found.extend([entry])
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error
    return found


def common_data(runs: Sequence[FinishedRun], data: Path | None) -> CommonData:
    """What all runs were evaluated on; ValueError where that is not the same.

    It is looked for in the data set `data`, or where the first run found it.
    """
    first = runs[0]
    for run in runs[1:]:
        _check_same(first, run)
    if data is not None:
        split = _find_in(data, first.data["sha256"])
    else:
        split = Split(annotations=Path(first.data["validation"]), images=Path(first.data["folder"]))
        _check_there(split, first.data["sha256"])
    return CommonData(coco=selected_images(split.annotations, first.image_ids), images=split.images)


def _check_same(first: FinishedRun, run: FinishedRun) -> None:
    if (first.data["sha256"], first.image_ids) == (run.data["sha256"], run.image_ids):
        return
    msg = (
        f"runs must be evaluated on the same data, but {first.name} was on {first.evaluated_on}, "
        f"and {run.name} on {run.evaluated_on}"
    )
    if first.evaluated_on == run.evaluated_on:
        msg += ", which had another content then, or other images chosen of it"
    raise ValueError(msg)


def _find_in(folder: Path, sha256: str) -> Split:
    """The split of a data set that has this very annotation file."""
    found = []
    for name in ("val", "train"):
        try:
            split = find_split(folder, name)
        except DataError:
            if not folder.is_dir():
                raise
            continue
        if file_sha256(split.annotations) == sha256:
            return split
        found.append(str(split.annotations))
    msg = f"data {folder}: expected the annotations the runs were evaluated on, got other ones"
    raise ValueError(msg + (f" ({', '.join(found)})" if found else ""))


def _check_there(split: Split, sha256: str) -> None:
    hint = "; --data says where the data set is"
    if not split.annotations.is_file():
        msg = f"{split.annotations}: no such annotation file{hint}"
        raise ValueError(msg)
    if file_sha256(split.annotations) != sha256:
        msg = f"{split.annotations}: changed since the runs were evaluated on it{hint}"
        raise ValueError(msg)
