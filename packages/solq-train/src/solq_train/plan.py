"""What a run is about to do, in lines for people: network, data, rates, batch."""

from __future__ import annotations

from solq_train.config import OptimizerConfig, TrainConfig
from solq_train.run import Run


def describe(run: Run) -> list[str]:
    """Lines that say what begins: network, data, steps, rates of every parameter group."""
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    first = (
        f"{run.config.model.backbone}, {parameters / 1e6:.1f} M parameters, "
        f"{len(run.model.categories.entries)} categories, {run.num_samples} images, "
        f"{run.total_steps} steps of {run.batch_size}, device {run.device}"
    )
    return [first, *run.notes, f"rates     {rates(run)}; {course(run.config.optimizer, run)}"]


def rates(run: Run) -> str:
    """The full rate of each parameter group, with its size."""
    parts = []
    for group in run.optimizer.param_groups:
        size = sum(parameter.numel() for parameter in group["params"])
        parts.append(f"{group['name']} {group['initial_lr']:.3g} ({size / 1e6:.2f} M)")
    return ", ".join(parts)


def course(config: OptimizerConfig, run: Run) -> str:
    """How the rates change over a run."""
    parts = []
    if config.warmup_steps:
        parts.append(f"{config.warmup_steps} steps of warm-up")
    if config.schedule == "cosine":
        parts.append(f"a cosine to {config.final_rate_factor:.3g} of it at step {run.total_steps}")
    else:
        every = config.drop_epoch * run.steps_per_epoch
        drops = range(every, run.total_steps, every)
        at = ", ".join(map(str, drops[:4])) + (", …" if len(drops) > 4 else "")
        parts.append(f"a tenth after steps {at}" if drops else "constant")
    return ", then ".join(parts)


def batch_advice(config: TrainConfig, recipe: TrainConfig, name: str) -> tuple[str, ...]:
    """One line where the batch is not the recipe's: what it means, and how to have the recipe's."""
    here, there = config.optimizer.batch_size, recipe.optimizer.batch_size
    if here == there:
        return ()
    line = (
        f"batch     {here} images a step where {name} has {there}; learning rates stay as stated, "
        "none is scaled with the batch"
    )
    if here < there:
        parts = -(-there // here)
        line += (
            f". In the memory of {here}: --optimizer.batch-size {there} "
            f"--optimizer.accumulate {parts}"
        )
    return (line,)
