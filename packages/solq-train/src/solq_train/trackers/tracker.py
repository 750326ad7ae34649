"""The one face of all trackers, and the name of one → a tracker."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from solq_model.atomic import atomic_file

Status = Literal["finished", "stopped", "failed"]

# The module that a tracker needs. An extra of this package has the tracker's name.
EXTRAS = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
RUN_IDS = "trackers.json"


class Tracker(Protocol):
    """Gets the records of metrics.jsonl as they are written."""

    forgets: bool
    """Whether it drops what it was told after the step that a resumed run goes on from."""

    def log(self, record: Mapping[str, Any]) -> None:
        """Take the numbers of a step or of an evaluation."""

    def finish(self, status: Status) -> None:
        """Close the run; a stopped one may be resumed."""


def check_trackers(names: tuple[str, ...]) -> None:
    """ModuleNotFoundError that names the extra, where a tracker cannot be used here."""
    for name in names:
        if importlib.util.find_spec(EXTRAS[name]) is None:
            msg = f'tracker {name} needs its package: pip install "solq-train[{name}]"'
            raise ModuleNotFoundError(msg)


def open_tracker(name: str, output: Path, config: Mapping[str, Any], step: int) -> Tracker:
    """The tracker of a run that has finished `step` steps; the same run where it is resumed."""
    if name == "tensorboard":
        from solq_train.trackers.tensorboard import TensorBoardTracker

        return TensorBoardTracker(output, config, step)
    ids = _run_ids(output)
    tracker: Any
    if name == "wandb":
        from solq_train.trackers.wandb import WandbTracker

        tracker = WandbTracker(output, config, ids.get(name))
    else:
        from solq_train.trackers.mlflow import MLflowTracker

        tracker = MLflowTracker(output, config, ids.get(name))
    with atomic_file(output / RUN_IDS) as temporary:
        temporary.write_text(json.dumps({**ids, name: tracker.run_id}) + "\n", encoding="utf-8")
    opened: Tracker = tracker
    return opened


def _run_ids(output: Path) -> dict[str, str]:
    """The ids under which an earlier process of the same run was tracked."""
    path = output / RUN_IDS
    try:
        ids = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        msg = f"{path}: not valid JSON ({error}); without this file the run is tracked as a new one"
        raise ValueError(msg) from error
    return {str(name): str(run_id) for name, run_id in ids.items()}


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record by the names of curves: `train/loss`, `val/segm.AP`."""
    group = "train" if "loss" in record else "val"
    return {
        f"{group}/{name}": float(value)
        for name, value in record.items()
        if name != "step" and isinstance(value, (int, float))
    }


def flat(config: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Nested settings by their full names: `optimizer.batch_size`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{where}{key}.")
        else:
            found[f"{where}{key}"] = value
    return found
