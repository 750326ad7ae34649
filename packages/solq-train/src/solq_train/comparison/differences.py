"""What runs left → rows of text on where they differ; the first run is what others differ from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solq_train.comparison.runs import FinishedRun
from solq_train.metrics import CocoMetrics, format_ap

ABSENT = "-"
KINDS = {"segm": "mask", "bbox": "box"}


@dataclass(frozen=True, kw_only=True)
class CategoryDifference:
    """AP of one category: of masks where all runs have them, of boxes else."""

    id: int
    name: str
    num_objects: int
    values: tuple[float, ...]  # of each run

    @property
    def largest(self) -> float:
        """The difference to the first run that is furthest from 0."""
        return max((value - self.values[0] for value in self.values[1:]), key=abs)


def titles(runs: Sequence[FinishedRun]) -> list[str]:
    """Column titles: the first run's name, then each other one's and its difference."""
    first, *others = (run.name for run in runs)
    return [first, *(title for name in others for title in (name, "difference"))]


def number_rows(metrics: Sequence[CocoMetrics]) -> list[list[str]]:
    """COCO's numbers, each with its name, then as in `titles`."""
    numbers = [one.to_dict() for one in metrics]
    widest = max(numbers, key=len)  # with masks, where any run has them
    names = [name for kind in KINDS for name in widest if name.startswith(f"{kind}.")]
    return [[_title(name), *_with_differences([n.get(name) for n in numbers])] for name in names]


def _title(name: str) -> str:
    kind, _, number = name.partition(".")
    return f"{KINDS[kind]} {number.replace('_', ' ')}"


def _with_differences(values: Sequence[float | None]) -> list[str]:
    first, *others = values
    cells = [_cell(first)]
    for value in others:
        cells += [_cell(value), format_difference(first, value)]
    return cells


def _cell(value: float | None) -> str:
    return ABSENT if value is None else format_ap(value)


def format_difference(first: float | None, other: float | None) -> str:
    """How much more the other has, with its sign; nothing where one of them is no number."""
    if first is None or other is None or first < 0 or other < 0:
        return ""
    text = f"{other - first:+.3f}"
    return text if float(text) else "0.000"


def category_differences(metrics: Sequence[CocoMetrics]) -> list[CategoryDifference]:
    """The categories with objects to find, those with the largest difference first."""
    has_masks = all(one.segm is not None for one in metrics)
    stats = [one.segm if has_masks and one.segm is not None else one.bbox for one in metrics]
    rows = [
        CategoryDifference(
            id=category.id,
            name=category.name,
            num_objects=category.num_objects,
            values=tuple(one.by_category[category.id] for one in stats),
        )
        for category in metrics[0].categories
        if stats[0].by_category[category.id] >= 0
    ]
    return sorted(rows, key=lambda row: -abs(row.largest))


def category_row(row: CategoryDifference) -> list[str]:
    """The category as text: name, id, objects, then as in `titles`."""
    return [row.name, str(row.id), str(row.num_objects), *_with_differences(row.values)]


def setting_rows(runs: Sequence[FinishedRun]) -> list[list[str]]:
    """The settings that are not the same in all runs: name, and value of each run."""
    flat = [_flat(run.config) for run in runs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = [[name, *(settings.get(name, ABSENT) for settings in flat)] for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def _flat(settings: Mapping[str, Any], where: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{where}{key}.")
        else:
            found[where + key] = value if isinstance(value, str) else json.dumps(value)
    return found


def time_rows(runs: Sequence[FinishedRun]) -> list[list[str]]:
    """Steps, times and speed of each run, and the versions that are not the same."""
    rows = [
        ["steps", *(str(run.summary.get("steps", ABSENT)) for run in runs)],
        ["epochs", *(str(run.summary.get("epochs", ABSENT)) for run in runs)],
        ["training, s", *(_seconds(run.summary.get("train_seconds")) for run in runs)],
        ["in all, s", *(_seconds(run.summary.get("total_seconds")) for run in runs)],
        ["images a second, median", *(_median_speed(run) for run in runs)],
        ["codec ceiling, mask AP", *(_cell(run.summary.get("ceiling.segm.AP")) for run in runs)],
    ]
    about = [
        _flat({key: run.summary.get(key) or {} for key in ("versions", "git")}) for run in runs
    ]
    names = dict.fromkeys(name for one in about for name in one)
    others = [[name, *(one.get(name, ABSENT) for one in about)] for name in names]
    return rows + [row for row in others if len(set(row[1:])) > 1]


def _seconds(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f}"


def _median_speed(run: FinishedRun) -> str:
    speeds = sorted(
        record["images_per_second"]
        for record in run.history.training
        if record.get("images_per_second") is not None
    )
    return f"{speeds[len(speeds) // 2]:.1f}" if speeds else ABSENT
