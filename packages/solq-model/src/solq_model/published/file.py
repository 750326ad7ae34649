"""A published file → its weights by published name, and the options beside them; runs no code."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from solq_model.published.foreign import describe_class

# Where files of this kind hold the weights; the first that is there counts.
WEIGHT_KEYS = ("model", "state_dict", "model_state_dict")
# What wrappers put before every name: torch's DataParallel and compile.
WRAPPERS = ("module.", "_orig_mod.")
# Counters that a FLOP profiler leaves in a model; the published code passes over them (main.py).
COUNTERS = ("total_params", "total_ops")
PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True, kw_only=True)
class OfficialCheckpoint:
    """What a published file holds that makes a network."""

    path: Path
    state: dict[str, Tensor]
    options: dict[str, Any]
    """The plain values of the published command line (`args`); empty where there is none."""
    notes: tuple[str, ...]
    """What else was in the file or in its names, and what was done about it."""


def load_official_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a published file; see `read_official_checkpoint`."""
    return read_official_checkpoint(path).state


def read_official_checkpoint(path: str | Path) -> OfficialCheckpoint:
    """The content of a `.pth` file (zip, or torch's older format) or of a `.safetensors` file.

    A `.pth` file pickles an `argparse.Namespace` beside the weights. Only tensors, plain values
    and that one class are admitted; anything else in the file is refused, never executed.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"checkpoint {path}: no such file"
        raise ValueError(msg)
    content = _safetensors(path) if path.suffix == ".safetensors" else _unpickled(path)
    state, notes = _state_of(content, path)
    state, more_notes = _unwrapped(state)
    options = content.get("args")
    if isinstance(options, argparse.Namespace):
        options = vars(options)
    options = options if isinstance(options, Mapping) else {}
    return OfficialCheckpoint(
        path=path,
        state=state,
        options={str(name): value for name, value in options.items() if isinstance(value, PLAIN)},
        notes=(*notes, *more_notes),
    )


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        msg = (
            f"checkpoint {path}: not a whole safetensors file ({error}); copy or download it again"
        )
        raise ValueError(msg) from error


def _unpickled(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Any kind: a damaged file leads the unpickler into IndexError, struct.error and others.
        msg = f"checkpoint {path}: expected a published .pth file, but {_reason(error)}"
        raise ValueError(msg) from error
    if not isinstance(content, dict):
        msg = (
            f"checkpoint {path}: expected a dict with the weights under 'model', "
            f"found {type(content).__name__}"
        )
        raise ValueError(msg)
    return content


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if refused := re.search(r"(?:GLOBAL|unsupported class|unrecognized function) ([\w.]+)", text):
        found = describe_class(refused[1])
        return (
            f"it holds {found}, which is neither weights nor a plain value; where you trust it, "
            "save the network's state_dict() alone"
        )
    if not text:
        return "it ends too early; copy or download it again"
    if isinstance(error, pickle.UnpicklingError):
        # torch's own words advise to run whatever the file holds.
        return "it is not a file of weights, or a damaged one; copy or download it again"
    return f"it cannot be read: {text.splitlines()[0]}; copy or download it again"


def _state_of(content: dict[str, Any], path: Path) -> tuple[dict[str, Tensor], list[str]]:
    for key in WEIGHT_KEYS:
        state = content.get(key)
        if isinstance(state, Mapping) and state and _are_tensors(state):
            others = sorted(str(other) for other in content if other not in (key, "args"))
            note = f"only '{key}' is taken; beside it: {', '.join(others)}"
            return dict(state), [note] if others else []
    if content and _are_tensors(content):
        return dict(content), []
    keys = sorted(map(str, content))[:8]
    msg = f"checkpoint {path}: expected a dict with the weights under 'model', found {keys}"
    raise ValueError(msg)


def _are_tensors(state: Mapping[Any, Any]) -> bool:
    return all(isinstance(v, Tensor) and isinstance(k, str) for k, v in state.items())


def _unwrapped(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights by the network's own names, without what wrappers and profilers add."""
    notes = []
    while wrapper := next((w for w in WRAPPERS if all(n.startswith(w) for n in state)), None):
        state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
        notes.append(f"'{wrapper}' before every name is taken off")
    counters = [name for name in state if name.rpartition(".")[2] in COUNTERS]
    if counters:
        state = {name: tensor for name, tensor in state.items() if name not in set(counters)}
        notes.append(f"{len(counters)} profiler counters are no weights: {counters[0]}, …")
    return state, notes
