"""Saved models: a folder with `model.safetensors` and `model.json`, enough to predict.

A network for PCA vectors has `mask_codec.npz` beside them, the components they are written in.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from solq_model.atomic import atomic_directory, previous_of
from solq_model.categories import Categories
from solq_model.config import ModelConfig
from solq_model.mask_codec import PCAMaskCodec
from solq_model.preprocess import Preprocessing
from solq_model.solq import SOLQ, build_model

WEIGHTS = "model.safetensors"
CARD = "model.json"
COMPONENTS = "mask_codec.npz"
FORMAT = "solq-model/1"


def save_model(model: SOLQ, directory: Path) -> None:
    """Write the model into a folder of its own, atomically; a model already there is replaced."""
    directory = directory.resolve()
    if directory.exists() and not _may_be_replaced(directory):
        # The whole folder is replaced: anything else in it would be lost.
        msg = f"model {directory}: expected a new folder, an empty one or a saved model to replace"
        raise ValueError(msg)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(directory) as temporary:
        write_model(model, temporary)


def _may_be_replaced(directory: Path) -> bool:
    if not directory.is_dir():
        return False
    return (directory / CARD).is_file() or not any(directory.iterdir())


def write_model(model: SOLQ, directory: Path) -> None:
    """Write the model's files into an existing folder."""
    card = {
        "format": FORMAT,
        "config": asdict(model.config),
        "categories": model.categories.to_json(),
        "preprocessing": model.preprocessing.to_json(),
    }
    (directory / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, directory / WEIGHTS)
    # safetensors writes for the owner's eyes only; a model is read by whoever reads its card.
    (directory / WEIGHTS).chmod((directory / CARD).stat().st_mode & 0o777)
    codec = None if model.needs_codec else model.codec
    if isinstance(codec, PCAMaskCodec):
        codec.save(directory / COMPONENTS)


def load_model(directory: Path) -> SOLQ:
    """The model of a folder, on the CPU, in evaluation mode."""
    directory = find_model(directory)
    card = _read_card(directory / CARD)
    try:
        config = ModelConfig.from_json(card["config"])
        categories = Categories.from_json(card["categories"])
        preprocessing = Preprocessing(**card["preprocessing"])
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{directory / CARD}: not a description of a SOLQ model: {error}"
        raise ValueError(msg) from error
    model = build_model(config)
    model.categories, model.preprocessing = categories, preprocessing
    load_weights(model, directory / WEIGHTS)
    if model.needs_codec:
        load_codec(model, directory)
    return model.eval()


def load_codec(model: SOLQ, directory: Path) -> None:
    """Set the components that a network for PCA vectors was saved with, where it had some."""
    path = find_model(directory) / COMPONENTS
    if path.is_file():
        model.codec = PCAMaskCodec.load(path)


def find_model(directory: Path) -> Path:
    """The folder itself, or its last good state where a save was interrupted."""
    if not directory.exists() and previous_of(directory).exists():
        directory = previous_of(directory)
    if not (directory / CARD).is_file() or not (directory / WEIGHTS).is_file():
        found = "no such folder"
        if directory.is_dir():
            names = sorted(path.name for path in directory.iterdir())[:6]
            found = f"a folder with {', '.join(names) or 'nothing in it'}"
        elif directory.exists():
            found = "a file"
        msg = f"model {directory}: expected a folder with {CARD} and {WEIGHTS}, found {found}"
        raise ValueError(msg)
    return directory


def load_weights(model: SOLQ, path: Path) -> None:
    """Load a safetensors file into the model; every tensor of either side must have its partner."""
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        msg = f"weights {path}: not a whole safetensors file ({error})"
        raise ValueError(msg) from error
    expected = model.state_dict()
    wrong = [
        f"{name} is {_shape(state.get(name))}, expected {_shape(expected.get(name))}"
        for name in sorted(expected.keys() | state.keys())
        if _shape(state.get(name)) != _shape(expected.get(name))
    ]
    if wrong:
        first = "; ".join(wrong[:4])
        msg = f"weights {path} do not fit the model: {len(wrong)} tensors differ: {first}"
        raise ValueError(msg)
    model.load_state_dict(state)


def _shape(tensor: torch.Tensor | None) -> str:
    return "absent" if tensor is None else str(tuple(tensor.shape))


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: not valid JSON ({error})"
        raise ValueError(msg) from error
    found = card.get("format") if isinstance(card, dict) else None
    if found != FORMAT:
        msg = f"{path}: expected format {FORMAT!r}, got {found!r}"
        raise ValueError(msg)
    assert isinstance(card, dict)
    return card
