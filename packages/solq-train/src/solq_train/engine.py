"""The training loop: steps, evaluations, checkpoints."""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from solq_model.atomic import remove_unfinished
from solq_train.checkpoint import LAST, Progress, load_newest, save_checkpoint
from solq_train.data import Batch, Split
from solq_train.evaluation import Evaluation, evaluate
from solq_train.journal import Journal, training_record
from solq_train.memory import in_words, peak_memory
from solq_train.prefetch import prefetched
from solq_train.progress import Advance, show_steps
from solq_train.provenance import git_state, versions
from solq_train.run import Run
from solq_train.step import train_step
from solq_train.stopping import StoppedError, StopRequest, stop_requests

logger = logging.getLogger(__name__)

BEST = "best"


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """How a run ended."""

    progress: Progress
    evaluation: Evaluation  # of the last epoch
    earlier_seconds: float  # of training before this process took over


def train(
    run: Run, validation: Split, output: Path, console: Console, *, resume: bool = False
) -> TrainingResult:
    """Train to the end of the schedule, or until `early_stopping` ends it before.

    `output/last` is there after every epoch, at the least.

    StoppedError, with everything saved, when one of the processes is asked to stop. Only the first
    of them writes and tells.
    """
    training = _Training(run, validation, output, console)
    if resume:
        training.resume()
    earlier_seconds = training.progress.seconds
    run.model.train()
    done = training.progress.step
    with (
        training.journal.tracked(run.config.tracker, asdict(run.config), done),
        stop_requests() as stop,
        show_steps(console, "train", run.total_steps, done=done) as advance,
    ):
        evaluation = training.evaluate_if_due()
        while not training.is_over:
            training.train_epoch(advance, stop)
            evaluation = training.evaluate_if_due()
            training.save()
            training.stop_if_asked(stop)
    training.tell_if_stopped_early()
    if evaluation is None:
        evaluation = training.evaluate()
    return TrainingResult(
        progress=training.progress, evaluation=evaluation, earlier_seconds=earlier_seconds
    )


class _Training:
    """A run under way: how far it is, and what it leaves in its folder."""

    def __init__(self, run: Run, validation: Split, output: Path, console: Console) -> None:
        self.run = run
        self.validation = validation
        self.output = output
        self.console = console
        self.journal = Journal(output, writes=run.processes.is_first)
        self.progress = Progress()
        self.metrics: dict[str, Any] | None = None
        self.origin = {"versions": versions(), "git": git_state()}

    def resume(self) -> None:
        """Go back to the newest checkpoint that is whole, and forget what was logged after it."""
        run = self.run
        if run.processes.is_first:
            remove_unfinished(self.output)
        found = load_newest(self.output, run.trained)
        self.journal.go_back(found.progress.step if found else 0)
        if found is None:  # stopped before its first checkpoint
            return
        for reason in found.skipped:
            logger.warning("skipped: %s", reason)
        for setting in changed_settings(found.card.get("config", {}), asdict(run.config)):
            logger.warning("resumed with another setting: %s", setting)
        self.progress = found.progress
        self.metrics = found.card.get("metrics")
        self.console.print(
            f"resumed after step {self.progress.step} of {run.total_steps}, {found.directory}",
            highlight=False,
        )

    @property
    def is_stale(self) -> bool:
        """Whether too many evaluations in a row have found nothing better."""
        patience = self.run.config.early_stopping
        return 0 < patience <= self.progress.stale

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to train."""
        return self.is_stale or self.progress.step >= self.run.total_steps

    def tell_if_stopped_early(self) -> None:
        """Say why a run ended before its schedule."""
        step, total = self.progress.step, self.run.total_steps
        if self.is_stale and step < total:
            self.console.print(
                f"stopped early after step {step} of {total}: no better AP than "
                f"{self.progress.best:.3f} in {self.progress.stale} evaluations",
                highlight=False,
            )

    def train_epoch(self, advance: Advance, stop: StopRequest) -> None:
        """The epoch that the next step belongs to, from there on, or what is left of the run."""
        run, before = self.run, self.progress
        epoch, done = divmod(before.step, run.steps_per_epoch)
        run.sampler.set_epoch(epoch, start=done * run.batch_size)
        run.dataset.set_epoch(epoch)
        started = last_logged = time.perf_counter()
        images = 0
        for batch in self._batches(stop):
            result = train_step(run, batch, self.progress.step, self.output)
            step = self.progress.step + 1
            seconds = before.seconds + time.perf_counter() - started
            self.progress = replace(self.progress, step=step, seconds=seconds)
            images += len(batch.images) * run.processes.count
            if step % run.config.log_every == 0 or step == run.total_steps:
                now = time.perf_counter()
                rate = images / (now - last_logged)
                last_logged, images = now, 0
                record = training_record(run, step, result, rate)
                self.journal.log(record)
                advance(0, self._in_words(record["loss"], rate))
            advance()
            if step == run.total_steps:
                break
            every = run.config.checkpoint_every
            # An epoch's last step is saved after its evaluation.
            if every and step % every == 0 and step % run.steps_per_epoch:
                self.save()
            self.stop_if_asked(stop)

    def _in_words(self, loss: float, rate: float) -> str:
        """How it goes: loss, the last evaluation's AP, speed and memory."""
        parts = [f"loss {loss:.2f}", f"{rate:.1f} images/s"]
        if self.metrics is not None:
            name = "segm" if "segm.AP" in self.metrics else "bbox"
            of = "mask" if name == "segm" else "box"
            parts.insert(1, f"{of} AP {self.metrics[f'{name}.AP']:.3f}")
        if memory := peak_memory(self.run.device):
            parts.append(in_words(memory))
        return "  ".join(parts)

    def _batches(self, stop: StopRequest) -> Iterator[Batch]:
        try:
            yield from prefetched(self.run.loader, self.run.device)
        except RuntimeError:
            # A scheduler that preempts a job ends the loader's workers too: no more batches then.
            # Several processes cannot agree on that any more, and go on from the last checkpoint.
            if not stop or self.run.processes.count > 1:
                raise
            self.stop_if_asked(stop)

    def stop_if_asked(self, stop: StopRequest) -> None:
        """Save and raise StoppedError if the process was asked to stop before the run's end."""
        asked = torch.tensor(stop.signum or 0)
        signum = int(self.run.processes.largest(asked))
        if not signum or self.is_over:
            return
        self.save()
        name = signal.Signals(signum).name
        msg = (
            f"stopped by {name} after step {self.progress.step} of {self.run.total_steps}; "
            f"all is saved in {self.output / LAST}, and --resume goes on from there"
        )
        raise StoppedError(msg, signum)

    def evaluate_if_due(self) -> Evaluation | None:
        """The evaluation at the end of an epoch or of the run, logged and perhaps the best."""
        run, step = self.run, self.progress.step
        epoch, rest = divmod(step, run.steps_per_epoch)
        at_epoch = rest == 0 and epoch % run.config.evaluate_every == 0
        if step == self.progress.evaluated or not (at_epoch or step >= run.total_steps):
            return None
        evaluation = self.evaluate()
        metrics = evaluation.metrics
        record = {"step": step, "epoch": run.epoch_of(step), "train_seconds": self.progress.seconds}
        self.journal.log(record | metrics.to_dict())
        of_masks = "" if metrics.segm is None else f", mask AP {metrics.segm.AP:.3f}"
        self.console.print(
            f"epoch {run.epoch_of(step)}, step {step}: box AP {metrics.bbox.AP:.3f}{of_masks}",
            highlight=False,
        )
        self.metrics = metrics.to_dict()
        best, ap = self.progress.best, metrics.ranking_ap
        if best <= ap:
            model = run.evaluated_model  # which all processes have a part in
            if run.processes.is_first:
                model.save(self.output / BEST)
        stale = 0 if best < ap else self.progress.stale + 1
        self.progress = replace(self.progress, best=max(best, ap), stale=stale, evaluated=step)
        return evaluation

    def evaluate(self) -> Evaluation:
        """The COCO numbers of the model as it is."""
        config = self.run.config
        return evaluate(
            self.run.evaluated_model,
            self.validation,
            self.console,
            processes=self.run.processes,
            top_k=config.top_k,
            batch_size=min(config.optimizer.batch_size, 8),
            num_workers=config.data.num_workers,
            evaluator=config.evaluator,
            image_ids=set(config.data.image_ids) or None,
        )

    def save(self) -> None:
        """Write the checkpoint of the last finished step."""
        run = self.run
        about = {"config": asdict(run.config), "metrics": self.metrics, **self.origin}
        save_checkpoint(
            self.output,
            run.trained,
            self.progress,
            about=about,
            keep=run.config.keep_checkpoints,
            processes=run.processes,
        )


def changed_settings(before: dict[str, Any], now: dict[str, Any], where: str = "") -> list[str]:
    """What differs between two configurations in plain values: `name: before → now`."""
    found = []
    for key, value in now.items():
        old = before.get(key, value)
        name = f"{where}{key}"
        if isinstance(value, dict) and isinstance(old, dict):
            found += changed_settings(old, value, f"{name}.")
        elif json.dumps(old) != json.dumps(value):
            found.append(f"{name}: {json.dumps(old)} → {json.dumps(value)}")
    return found
