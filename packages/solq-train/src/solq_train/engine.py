"""The training loop: steps, evaluations, checkpoints."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from solq_model.atomic import atomic_file
from solq_train.checkpoint import Progress, has_checkpoint, load_checkpoint, save_checkpoint
from solq_train.criterion import Losses, encode_targets
from solq_train.data import Batch, Split
from solq_train.evaluation import Evaluation, evaluate
from solq_train.progress import Advance, show_steps
from solq_train.run import Run

METRICS = "metrics.jsonl"
LAST = "last"
BEST = "best"
BAD_BATCH = "non_finite_batch.pt"


class NonFiniteLossError(RuntimeError):
    """The loss is no number any more; the batch is in a file."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """How a run ended."""

    progress: Progress
    evaluation: Evaluation  # of the last epoch
    earlier_seconds: float  # of training before this process took over


def train(
    run: Run, validation: Split, output: Path, console: Console, *, resume: bool = False
) -> TrainingResult:
    """Train to the end of the schedule; `output/last` is there after every epoch."""
    progress = Progress()
    if resume and has_checkpoint(output / LAST):
        progress = load_checkpoint(output / LAST, run.model, run.optimizer, run.schedule)
        console.print(f"resumed after epoch {progress.epoch}, step {progress.step}")
    earlier_seconds = progress.seconds
    evaluation = None
    run.model.train()
    with show_steps(console, "train", run.total_steps, done=progress.step) as advance:
        while progress.step < run.total_steps:
            progress = _train_epoch(run, progress, output, advance)
            finished = progress.step >= run.total_steps
            evaluation = None
            if finished or progress.epoch % run.config.evaluate_every == 0:
                evaluation = _evaluate(run, validation, console)
                progress = _record_evaluation(run, evaluation, progress, output, console)
            save_checkpoint(output / LAST, run.model, run.optimizer, run.schedule, progress)
    if evaluation is None:
        evaluation = _evaluate(run, validation, console)
    return TrainingResult(progress=progress, evaluation=evaluation, earlier_seconds=earlier_seconds)


def _train_epoch(run: Run, progress: Progress, output: Path, advance: Advance) -> Progress:
    """One epoch, or what is left until the last step."""
    run.sampler.set_epoch(progress.epoch)
    run.dataset.set_epoch(progress.epoch)
    step, seconds = progress.step, progress.seconds
    started = last_logged = time.perf_counter()
    images = 0
    for batch in run.loader:
        losses, norm = train_step(run, batch, step, output)
        step += 1
        images += len(batch.images)
        if step % run.config.log_every == 0 or step == run.total_steps:
            now = time.perf_counter()
            rate = images / (now - last_logged)
            last_logged, images = now, 0
            _append(
                output / METRICS, _training_record(run, step, progress.epoch, losses, norm, rate)
            )
            advance(0, f"loss {losses.total.item():.2f}  {rate:.1f} images/s")
        advance()
        if step >= run.total_steps:
            break
    seconds += time.perf_counter() - started
    return replace(progress, epoch=progress.epoch + 1, step=step, seconds=seconds)


def train_step(run: Run, batch: Batch, step: int, output: Path) -> tuple[Losses, Tensor]:
    """Forward, losses, backward, clip, update; the losses and the gradient norm before clipping."""
    targets = encode_targets(batch.targets, run.codec, run.device)
    predictions = run.model([image.to(run.device) for image in batch.images])
    losses = run.criterion(predictions, targets)
    if not torch.isfinite(losses.total):
        _keep_bad_batch(batch, losses, step, output)
    run.optimizer.zero_grad(set_to_none=True)
    losses.total.backward()
    limit = run.config.optimizer.clip_norm or torch.inf
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    run.optimizer.step()
    run.schedule.step()
    return losses, norm


def _keep_bad_batch(batch: Batch, losses: Losses, step: int, output: Path) -> None:
    content: dict[str, Any] = {
        "step": step,
        "terms": {name: value.item() for name, value in losses.terms.items()},
        "images": batch.images,
        "targets": [dict(vars(target)) for target in batch.targets],
    }
    with atomic_file(output / BAD_BATCH) as temporary:
        torch.save(content, temporary)
    bad = [name for name, value in content["terms"].items() if not math.isfinite(value)]
    ids = ", ".join(str(target.image_id) for target in batch.targets)
    msg = (
        f"the loss is not finite at step {step} ({', '.join(bad)}; images {ids}). The batch is in "
        f"{output / BAD_BATCH}; a lower optimizer.learning_rate or optimizer.clip_norm may help"
    )
    raise NonFiniteLossError(msg)


def _evaluate(run: Run, validation: Split, console: Console) -> Evaluation:
    return evaluate(
        run.model,
        validation,
        console,
        top_k=run.config.top_k,
        batch_size=min(run.config.optimizer.batch_size, 8),
        image_ids=set(run.config.data.image_ids) or None,
    )


def _record_evaluation(
    run: Run, evaluation: Evaluation, progress: Progress, output: Path, console: Console
) -> Progress:
    metrics = evaluation.metrics
    record = {"step": progress.step, "epoch": progress.epoch, "train_seconds": progress.seconds}
    _append(output / METRICS, record | metrics.to_dict())
    console.print(
        f"epoch {progress.epoch}, step {progress.step}: "
        f"box AP {metrics.bbox.AP:.3f}, mask AP {metrics.segm.AP:.3f}",
        highlight=False,
    )
    if progress.best > metrics.segm.AP:
        return progress
    run.model.save(output / BEST)
    return replace(progress, best=metrics.segm.AP)


def _training_record(
    run: Run, step: int, epoch: int, losses: Losses, norm: Tensor, rate: float
) -> dict[str, Any]:
    rates = {str(group["name"]): group["lr"] for group in run.optimizer.param_groups}
    return {
        "step": step,
        "epoch": epoch,
        "loss": round(losses.total.item(), 5),
        **{
            name: round(value.item(), 5)
            for name, value in (losses.terms | losses.diagnostics).items()
        },
        "grad_norm": round(float(norm), 5),
        "lr": rates["base"],
        "images_per_second": round(rate, 2),
    }


def _append(path: Path, record: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
