"""Checkpoints of a run: the model and all that training needs to go on, in one atomic folder.

`last` is the newest; those before it live on as `earlier/step-N`, so that a damaged one costs
the steps since the one before, not the run.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from solq_model.atomic import atomic_directory, previous_of
from solq_model.saved import load_weights, write_model
from solq_model.solq import SOLQ
from solq_train.distributed import ALONE, Processes
from solq_train.sharding import (
    divided,
    divided_optimizer_state,
    take_weights,
    whole_model,
    whole_state,
)

LAST = "last"
EARLIER = "earlier"
TRAINING_STATE = "training_state.pt"
CARD = "training.json"
FORMAT = "solq-checkpoint/1"
DAMAGE = (
    OSError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    KeyError,
    ValueError,
    TypeError,
)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come. No random state: chance of a step follows from seed and step."""

    step: int = 0  # finished steps
    evaluated: int = 0  # the step of the last evaluation
    seconds: float = 0.0  # spent in training, evaluations left out
    best: float = -1.0  # the best AP so far, of masks where there are any
    stale: int = 0  # evaluations since then


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """What a run goes on from."""

    directory: Path
    progress: Progress
    card: dict[str, Any]  # configuration, metrics and versions that the checkpoint was made with
    skipped: tuple[str, ...]  # newer ones that cannot be used, and why


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What changes in training."""

    model: SOLQ
    optimizer: Optimizer
    schedule: LRScheduler
    average: AveragedModel | None = None  # of the weights, where it is asked for


def save_checkpoint(
    output: Path,
    trained: Trained,
    progress: Progress,
    *,
    about: dict[str, Any],
    keep: int = 2,
    processes: Processes = ALONE,
) -> None:
    """Write `output/last`; the one before stays until the new one is whole.

    `about` goes into the card beside format and progress: configuration, metrics, versions.
    `keep` checkpoints are left, this one among them. All processes take part, which have to bring
    their shards together where there are some; the first one writes.
    """
    model = whole_model(trained.model)
    state = {
        "optimizer": whole_state(trained.optimizer.state_dict()),
        "schedule": trained.schedule.state_dict(),
        "average": whole_state(trained.average and trained.average.state_dict()),
        "progress": asdict(progress),
    }
    if processes.is_first:
        _write_checkpoint(output, model, state, {**asdict(progress), **about}, keep)
    processes.wait()


def _write_checkpoint(
    output: Path, model: SOLQ, state: dict[str, Any], about: dict[str, Any], keep: int
) -> None:
    card = {"format": FORMAT, **about}
    before = _step_of(output / LAST)
    aside = None
    if before is not None and before != about["step"] and keep > 1:
        aside = output / EARLIER / f"step-{before:08d}"
        aside.parent.mkdir(exist_ok=True)
    with atomic_directory(output / LAST, keep_old_as=aside) as temporary:
        write_model(model, temporary)
        torch.save(state, temporary / TRAINING_STATE)
        (temporary / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    for directory in _earlier(output)[max(0, keep - 1) :]:
        shutil.rmtree(directory)


def load_newest(output: Path, trained: Trained) -> Resumed | None:
    """Put a run back to its newest checkpoint that is whole; None where there is none at all.

    ValueError with the reasons where there are some, but none can be used.
    """
    skipped: list[str] = []
    for directory in _candidates(output):
        try:
            progress = load_checkpoint(directory, trained)
            card = _read_card(directory)
        except ValueError as error:
            skipped.append(str(error))
            continue
        return Resumed(directory=directory, progress=progress, card=card, skipped=tuple(skipped))
    if skipped:
        msg = f"no checkpoint of {output} can be used: {'; '.join(skipped)}"
        raise ValueError(msg)
    return None


def load_checkpoint(directory: Path, trained: Trained) -> Progress:
    """Put a run back to where this folder was written."""
    model = whole_model(trained.model)
    load_weights(model, directory / "model.safetensors")
    take_weights(trained.model, model)
    path = directory / TRAINING_STATE
    try:
        state = _read_state(path)
        moments = divided_optimizer_state(state["optimizer"], trained.optimizer)
        trained.optimizer.load_state_dict(moments)
        trained.schedule.load_state_dict(state["schedule"])
        if (trained.average is None) != (state["average"] is None):
            msg = f"it was {'not ' * (state['average'] is None)}made with ema_decay"
            raise ValueError(msg)
        if trained.average is not None:
            average = divided(state["average"], trained.average.state_dict())
            trained.average.load_state_dict(average)
        return Progress(**state["progress"])
    except DAMAGE as error:
        msg = f"checkpoint {path}: not a whole training state of this run ({error})"
        raise ValueError(msg) from error


def has_checkpoint(output: Path) -> bool:
    """Whether there is anything to resume from."""
    return next(_candidates(output), None) is not None


def _candidates(output: Path) -> Iterator[Path]:
    """Checkpoint folders, newest first, whole or not."""
    last = output / LAST
    for directory in (last, previous_of(last), *_earlier(output)):
        if directory.is_dir():
            yield directory


def _earlier(output: Path) -> list[Path]:
    return sorted((output / EARLIER).glob("step-*"), reverse=True)


def _step_of(directory: Path) -> int | None:
    """The step of a checkpoint; None where there is none, or none that says so."""
    try:
        step = _read_card(directory)["step"]
    except (ValueError, KeyError):
        return None
    return step if isinstance(step, int) else None


def _read_card(directory: Path) -> dict[str, Any]:
    path = directory / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"checkpoint {path}: not a whole card of a checkpoint ({error})"
        raise ValueError(msg) from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else card
        msg = f"checkpoint {path}: expected format {FORMAT!r}, got {found!r}"
        raise ValueError(msg)
    return card


def _read_state(path: Path) -> dict[str, Any]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    found = state.keys() if isinstance(state, dict) else type(state).__name__
    if found != {"optimizer", "schedule", "average", "progress"}:
        msg = f"it holds {found}"
        raise ValueError(msg)
    assert isinstance(state, dict)
    return state
