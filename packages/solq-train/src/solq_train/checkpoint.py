"""Checkpoints of a run: the model and all that training needs to go on, in one atomic folder."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from solq_model.atomic import atomic_directory, previous_of
from solq_model.saved import find_model, load_weights, write_model
from solq_model.solq import SOLQ

TRAINING_STATE = "training_state.pt"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps
    seconds: float = 0.0  # spent in training, evaluations left out
    best: float = -1.0  # the best mask AP so far


def save_checkpoint(
    directory: Path, model: SOLQ, optimizer: Optimizer, schedule: LRScheduler, progress: Progress
) -> None:
    """Write the folder; the one before stays until the new one is whole."""
    state = {
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "progress": dict(vars(progress)),
        "random": torch.get_rng_state(),
    }
    with atomic_directory(directory) as temporary:
        write_model(model, temporary)
        torch.save(state, temporary / TRAINING_STATE)


def load_checkpoint(
    directory: Path, model: SOLQ, optimizer: Optimizer, schedule: LRScheduler
) -> Progress:
    """Put a run back to where the folder was written."""
    directory = find_model(directory)
    load_weights(model, directory / "model.safetensors")
    path = directory / TRAINING_STATE
    try:
        state = _read_state(path)
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        return Progress(**state["progress"])
    except (
        OSError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        KeyError,
        ValueError,
        TypeError,
    ) as error:
        msg = f"checkpoint {path}: not a whole training state of this run ({error})"
        raise ValueError(msg) from error


def _read_state(path: Path) -> dict[str, Any]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    found = state.keys() if isinstance(state, dict) else type(state).__name__
    if found != {"optimizer", "schedule", "progress", "random"}:
        msg = f"it holds {found}"
        raise ValueError(msg)
    assert isinstance(state, dict)
    return state


def has_checkpoint(directory: Path) -> bool:
    """Whether there is anything to resume from."""
    return directory.exists() or previous_of(directory).exists()
