"""One training step: a batch → losses, gradients, new weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from solq_train.criterion import Losses
from solq_train.data import Batch
from solq_train.failure import NonFiniteError, save_failure
from solq_train.portion import Portion, losses_of, portions
from solq_train.run import Run
from solq_train.sharding import whole, whole_model


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Losses of this process's share of the batch, and the norm of the whole batch's gradient.

    The mean over the processes is the loss of the global batch.
    """

    total: Float[Tensor, ""]
    terms: dict[str, Tensor]
    diagnostics: dict[str, Tensor]
    grad_norm: Float[Tensor, ""]  # before clipping


def train_step(run: Run, batch: Batch, step: int, output: Path) -> StepResult:
    """Forward, losses, backward, clip, update.

    NonFiniteError, with everything to repeat the step in `output`, where a loss or a gradient is
    no number, in all processes; the weights are then as before the step.
    """
    config = run.config
    run.optimizer.zero_grad(set_to_none=True)
    parts = list(
        portions(
            batch,
            parts=config.optimizer.accumulate,
            num_queries=config.model.num_queries,
            processes=run.processes,
            seed=config.seed,
            step=step,
        )
    )
    found: list[Losses] = []
    for portion in parts:
        with _gradients_are_shared(run.network, last=portion is parts[-1]):
            losses = losses_of(
                run.network, run.model.codec, run.criterion, portion, config.precision
            )
            _refuse_unless_finite(run, losses.total, losses, portion, output)
            losses.total.backward()
            found.append(losses)
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    norm = whole(nn.utils.clip_grad_norm_(parameters, config.optimizer.clip_norm or torch.inf))
    _refuse_unless_finite(run, norm, found[-1], parts[-1], output)
    run.optimizer.step()
    run.schedule.step()
    if run.average is not None:
        run.average.update_parameters(run.model)
    return _joined(found, norm)


@contextmanager
def _gradients_are_shared(network: nn.Module, *, last: bool) -> Iterator[None]:
    """Processes exchange gradients once a step, in the backward pass of the last part.

    Where they are sharded, in each part: gradients not yet exchanged would be whole ones.
    """
    if last or not isinstance(network, DistributedDataParallel):
        yield
        return
    with network.no_sync():
        yield


def _refuse_unless_finite(
    run: Run, value: Tensor, losses: Losses, portion: Portion, output: Path
) -> None:
    """NonFiniteError in every process, so that none waits for one that has stopped."""
    is_bad = not torch.isfinite(value)
    if run.processes.count == 1 and not is_bad:
        return
    if not run.processes.sum(torch.tensor(float(is_bad))).item():
        return
    weights = whole_model(run.model)
    if not is_bad:
        msg = f"not finite at step {portion.step} in another process"
        raise NonFiniteError(msg)
    raise NonFiniteError(save_failure(output, run, weights, portion, losses))


def _joined(found: list[Losses], norm: Tensor) -> StepResult:
    """Losses add up over the parts of a batch; what is only looked at is averaged."""
    terms = {name: sum_of(each.terms[name] for each in found) for name in found[0].terms}
    diagnostics = {
        name: sum_of(each.diagnostics[name] for each in found) / len(found)
        for name in found[0].diagnostics
    }
    total = sum_of(each.total for each in found)
    return StepResult(total=total, terms=terms, diagnostics=diagnostics, grad_norm=norm)


def sum_of(values: Iterator[Tensor]) -> Tensor:
    """The sum, without its history; of one value it is that value."""
    return torch.stack([value.detach() for value in values]).sum(0)
