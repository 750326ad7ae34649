"""Saved models: a folder with `model.safetensors` and `model.json`, enough to predict.

A network for PCA vectors has `mask_codec.npz` beside them, the components they are written in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from solq_model.atomic import atomic_directory, previous_of
from solq_model.categories import Categories
from solq_model.config import ModelConfig
from solq_model.mask_codec import PCAMaskCodec
from solq_model.preprocess import Preprocessing
from solq_model.published.foreign import describe_names
from solq_model.solq import SOLQ, build_model
from solq_model.weights import advice_on, check_finite, is_class_head, shape_of

WEIGHTS = "model.safetensors"
CARD = "model.json"
COMPONENTS = "mask_codec.npz"
FORMAT = "solq-model/1"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a saved model says of itself, but for where it is from."""

    config: ModelConfig
    categories: Categories
    preprocessing: Preprocessing


def save_model(model: SOLQ, directory: Path) -> None:
    """Write the model into a folder of its own, atomically; a model already there is replaced."""
    with model_folder(directory) as temporary:
        write_model(model, temporary)


@contextmanager
def model_folder(directory: Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes the model's own when the block ends well."""
    directory = directory.resolve()
    if directory.exists() and not _may_be_replaced(directory):
        # The whole folder is replaced: anything else in it would be lost.
        msg = f"model {directory}: expected a new folder, an empty one or a saved model to replace"
        raise ValueError(msg)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(directory) as temporary:
        yield temporary


def _may_be_replaced(directory: Path) -> bool:
    if not directory.is_dir():
        return False
    return (directory / CARD).is_file() or not any(directory.iterdir())


def write_model(model: SOLQ, directory: Path, source: Mapping[str, Any] | None = None) -> None:
    """Write the model's files into an existing folder.

    `source` says of which published file these very weights are.
    """
    card: dict[str, Any] = {
        "format": FORMAT,
        "config": asdict(model.config),
        "categories": model.categories.to_json(),
        "preprocessing": model.preprocessing.to_json(),
    }
    if source is not None:
        card["source"] = dict(source)
    (directory / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, directory / WEIGHTS)
    # safetensors writes for the owner's eyes only; a model is read by whoever reads its card.
    (directory / WEIGHTS).chmod((directory / CARD).stat().st_mode & 0o777)
    codec = None if model.needs_codec else model.codec
    if isinstance(codec, PCAMaskCodec):
        codec.save(directory / COMPONENTS)


def load_model(
    directory: Path, *, num_classes: int | None = None, allow_non_finite: bool = False
) -> SOLQ:
    """The model of a folder, on the CPU, in evaluation mode.

    With `num_classes` it has a fresh class head of so many slots, and categories without names.
    NaN and infinite weights are refused unless they are what is to be looked into.
    """
    directory = find_model(directory)
    card = read_card(directory)
    config, categories = card.config, card.categories
    if num_classes is not None:
        config = replace(config, num_classes=num_classes)
        categories = Categories.numbered(num_classes)
    model = build_model(config)
    model.categories, model.preprocessing = categories, card.preprocessing
    load_weights(
        model,
        directory / WEIGHTS,
        reset_head=num_classes is not None,
        allow_non_finite=allow_non_finite,
    )
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
            found = "a file (of published weights `solq convert` makes a folder)"
        msg = f"model {directory}: expected a folder with {CARD} and {WEIGHTS}, found {found}"
        raise ValueError(msg)
    return directory


def load_weights(
    model: SOLQ, path: Path, *, reset_head: bool = False, allow_non_finite: bool = False
) -> None:
    """Load a safetensors file into the model; every tensor of either side must have its partner.

    With `reset_head` the class heads keep the values they have.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        msg = f"weights {path}: not a whole safetensors file ({error}); copy or download it again"
        raise ValueError(msg) from error
    expected = model.state_dict()
    if reset_head:
        state = {name: tensor for name, tensor in state.items() if not is_class_head(name)}
        expected = {name: tensor for name, tensor in expected.items() if not is_class_head(name)}
    if not expected.keys() & state.keys():
        msg = f"weights {path}: expected those of a saved SOLQ model, found {describe_names(state)}"
        raise ValueError(msg)
    wrong = [
        name
        for name in sorted(expected.keys() | state.keys())
        if shape_of(state.get(name)) != shape_of(expected.get(name))
    ]
    if wrong:
        shown = "; ".join(
            f"{name} is {shape_of(state.get(name))}, expected {shape_of(expected.get(name))}"
            for name in wrong[:4]
        )
        advice = advice_on(wrong) or [f"Its configuration must be that of their {CARD}"]
        parts = [f"{len(wrong)} tensors differ: {shown}", *advice]
        msg = f"weights {path} do not fit the model: {'. '.join(parts)}"
        raise ValueError(msg)
    try:
        if not allow_non_finite:
            check_finite(state)
    except ValueError as error:
        msg = f"weights {path}: {error}"
        raise ValueError(msg) from error
    model.load_state_dict(state, strict=not reset_head)


def read_card(directory: Path) -> Card:
    """What the folder says of its model."""
    path = directory / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: not valid JSON ({error})"
        raise ValueError(msg) from error
    found = card.get("format") if isinstance(card, dict) else None
    if found != FORMAT:
        msg = f"{path}: expected format {FORMAT!r}, got {found!r}"
        raise ValueError(msg)
    try:
        return Card(
            config=ModelConfig.from_json(card["config"]),
            categories=Categories.from_json(card["categories"]),
            preprocessing=Preprocessing(**card["preprocessing"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: not a description of a SOLQ model: {error}"
        raise ValueError(msg) from error
