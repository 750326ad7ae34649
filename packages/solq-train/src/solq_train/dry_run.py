"""A run that is only described: steps, rates, evaluations, checkpoints, memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from solq_train.config import TrainConfig
from solq_train.data import Split
from solq_train.distributed import ALONE, Processes
from solq_train.evaluation import EvaluationImages
from solq_train.footprint import footprint
from solq_train.memory import in_words
from solq_train.optim import rate_factor
from solq_train.plan import describe
from solq_train.run import Run, prepare_run


def dry_run(
    config: TrainConfig, training: Split, validation: Split, processes: Processes = ALONE
) -> list[str]:
    """Lines on what would run. Refuses what a run would; writes nothing, downloads nothing."""
    downloads = config.backbone_weights == "imagenet" and config.initial_weights is None
    prepared = replace(config, backbone_weights=None) if downloads else config
    run = prepare_run(prepared, training, processes)
    judged = len(EvaluationImages(validation, run.model.preprocessing))
    first, *others = describe(run)
    lines = [first, *others, _data(run, judged), *_steps(run), *_rate_table(run), *_memory(run)]
    if downloads:
        lines.append("backbone  torchvision's ImageNet weights, downloaded when the run begins")
    return lines


def refuse_download(initial_weights: str | None) -> None:
    """ValueError where weights would have to come from the hub."""
    if initial_weights is not None and not Path(initial_weights).exists():
        msg = (
            f"initial_weights {initial_weights}: no such file or folder, and --dry-run downloads "
            "nothing"
        )
        raise ValueError(msg)


def _data(run: Run, judged: int) -> str:
    objects = sum(len(image.annotations) for image in run.dataset.coco.images)
    return (
        f"data      {len(run.dataset):,} training images with {objects:,} objects, {judged:,} to "
        f"evaluate on; {run.config.data.num_workers} loader processes"
    )


def _steps(run: Run) -> list[str]:
    config, total, epoch = run.config, run.total_steps, run.steps_per_epoch
    epochs = run.epoch_of(total)
    whole = total // epoch
    evaluations = whole // config.evaluate_every
    evaluations += total % epoch != 0 or whole % config.evaluate_every != 0  # the end
    count = run.processes.count
    division = f"{count} process{'es' * (count > 1)}"
    if config.optimizer.accumulate > 1:
        division += f", a batch in {config.optimizer.accumulate} parts"
    early = config.early_stopping
    ends = f", fewer if {early} in a row find no higher AP" if early else ""
    saved = epochs
    every = config.checkpoint_every
    if every:
        saved += sum(1 for step in range(every, total, every) if step % epoch)
    return [
        f"steps     {total:,} of {run.batch_size} images, {epoch:,} an epoch, {epochs} epochs; "
        f"{division}",
        f"evaluated {evaluations} times{ends}",
        f"saved     {saved} times, after every epoch"
        + (f" and every {every} steps" if every else ""),
    ]


def _rate_table(run: Run) -> list[str]:
    """The rate of each group where the schedule turns."""
    config, total = run.config.optimizer, run.total_steps
    turns = {1, config.warmup_steps + 1, total}
    if config.schedule == "step":
        every = config.drop_epoch * run.steps_per_epoch
        turns |= {step + 1 for step in range(every, total, every)}
    else:
        turns.add((config.warmup_steps + total) // 2)
    groups = run.optimizer.param_groups
    names = "".join(f"{group['name']:>12}" for group in groups)
    lines = [f"rate at   {'step':>10}{names}"]
    for step in sorted(turn for turn in turns if 1 <= turn <= total):
        factor = rate_factor(
            step - 1, config=config, total_steps=total, steps_per_epoch=run.steps_per_epoch
        )
        figures = "".join(f"{group['initial_lr'] * factor:>12.3g}" for group in groups)
        lines.append(f"          {step:>10}{figures}")
    return lines


def _memory(run: Run) -> list[str]:
    config, need = run.config, footprint(run)
    height, width = need.image_size
    frozen = sum(p.numel() for p in run.model.parameters() if not p.requires_grad)
    parts = [
        f"weights {in_words(need.weights)}",
        f"gradients {in_words(need.gradients)}",
        f"optimizer {in_words(need.optimizer)}",
        *([f"average {in_words(need.average)}"] if need.average else []),
        f"activations {in_words(need.activations)} ({need.images} images of {height} x {width}, "
        "the largest there are)",
    ]
    lines = [
        f"frozen    {frozen / 1e6:.2f} M parameters",
        f"memory    {in_words(need.total)} per process, estimated: {', '.join(parts)}; "
        "besides it what the libraries take",
    ]
    less = []
    if config.precision == "bfloat16":
        less.append("bfloat16")
    if config.checkpoint_activations:
        less.append("checkpoint_activations")
    if less:
        lines.append(f"          activations are less with {' and '.join(less)}")
    disk = config.keep_checkpoints * need.checkpoint + need.weights
    lines.append(
        f"disk      {in_words(disk)}: {config.keep_checkpoints} checkpoints of "
        f"{in_words(need.checkpoint)}, and best"
    )
    return lines
