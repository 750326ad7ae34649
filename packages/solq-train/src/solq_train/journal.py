"""What a run tells as it goes: records → lines of metrics.jsonl, and the trackers asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from solq_model.atomic import atomic_file
from solq_train.run import Run
from solq_train.step import StepResult
from solq_train.stopping import StoppedError
from solq_train.trackers import Status, Tracker, open_tracker

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"


class Journal:
    """The records of a run, in its folder and in trackers. Only the first process writes."""

    def __init__(self, output: Path, *, writes: bool) -> None:
        self.output = output
        self.writes = writes
        self.trackers: dict[str, Tracker] = {}
        # What an earlier process told after the checkpoint that this one goes on from.
        self.told: set[tuple[int, bool]] = set()

    def go_back(self, step: int) -> None:
        """Forget what was logged after a step: it will be logged again."""
        if self.writes:
            self.told = {_key(record) for record in forget_after(self.output / METRICS, step)}

    @contextmanager
    def tracked(self, names: tuple[str, ...], config: dict[str, Any], step: int) -> Iterator[None]:
        """Records also go to these trackers while the block runs; they are told how it ends."""
        if self.writes:
            for name in names:
                self.trackers[name] = open_tracker(name, self.output, config, step)
        status: Status = "failed"
        try:
            yield
            status = "finished"
        except (StoppedError, KeyboardInterrupt):
            status = "stopped"
            raise
        finally:
            for name in list(self.trackers):
                self._tell(name, lambda tracker: tracker.finish(status))

    def log(self, record: dict[str, Any]) -> None:
        """A line of metrics.jsonl, and the same for every tracker."""
        if not self.writes:
            return
        with (self.output / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        was_told = _key(record) in self.told
        for name, tracker in list(self.trackers.items()):
            # Steps repeated after a stop come to the same numbers.
            if tracker.forgets or not was_told:
                self._tell(name, lambda tracker: tracker.log(record))

    def _tell(self, name: str, say: Any) -> None:
        try:
            say(self.trackers[name])
        except Exception as error:
            # A server that went away must not cost the run.
            logger.warning(
                "tracker %s: %s; it is told nothing more, %s has everything", name, error, METRICS
            )
            del self.trackers[name]


def _key(record: dict[str, Any]) -> tuple[int, bool]:
    return record["step"], "loss" in record


def forget_after(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop the lines that a run logged after a step, and one that was cut off in writing.

    The dropped records.
    """
    if not path.exists():
        return []
    kept, dropped = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break
        if record["step"] <= step:
            kept.append(line + "\n")
        else:
            dropped.append(record)
    with atomic_file(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")
    return dropped


def training_record(run: Run, step: int, result: StepResult, rate: float) -> dict[str, Any]:
    """The losses of a step's global batch, and the rate of each parameter group."""
    named = {"loss": result.total, **result.terms, **result.diagnostics}
    values = torch.stack([value.double().cpu() for value in named.values()])
    means = run.processes.sum(values) / run.processes.count
    rates = {str(group["name"]): group["lr"] for group in run.optimizer.param_groups}
    return {
        "step": step,
        "epoch": run.epoch_of(step) - 1,
        **{name: round(value, 5) for name, value in zip(named, means.tolist(), strict=True)},
        "grad_norm": round(float(result.grad_norm), 5),
        "lr": rates["base"],
        **{f"lr.{name}": rate for name, rate in rates.items()},
        "images_per_second": round(rate, 2),
    }
