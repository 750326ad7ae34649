"""Fine-tuning: a model's weights → the start of a run on whatever categories its data has."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from solq_model import SOLQ, Categories, ModelConfig, read_official_checkpoint
from solq_model.hub import find_folder
from solq_model.preprocess import Preprocessing
from solq_model.published.recognition import examine
from solq_model.saved import find_model, read_card
from solq_model.weights import is_class_head, shape_of
from solq_train.config import DataConfig, TrainConfig
from solq_train.models import open_model

# Scaled with the image size that the weights were made for.
SCALED = ("short_sides", "crop_resize", "crop_size")


def with_network_of_weights(
    config: TrainConfig, recipe: TrainConfig
) -> tuple[TrainConfig, tuple[str, ...]]:
    """The configuration with what its initial weights are made for, and what to say of it.

    What differs from the recipe was asked for, and stays; weights that then do not fit are refused
    when they are loaded.
    """
    name = config.initial_weights
    if name is None:
        return config, ()
    network, sizes = _described(name)
    asked = _changes(recipe.model, config.model)
    model = replace(network, **asked)
    changed = ", ".join(f"{key}={value}" for key, value in asked.items() if key != "num_classes")
    notes = [f"network   of {name}: {_in_words(model)}{f', with {changed}' if changed else ''}"]
    data = config.data
    if sizes is not None:
        data = _with_sizes(config.data, recipe.data, sizes)
        if data != config.data:
            sides = data.short_sides
            notes.append(
                f"images    as {name} was trained on: {data.eval_short_side} pixels "
                f"(at most {data.max_size}), in training {sides[0]} to {sides[-1]}"
            )
    loss = config.loss
    if model.whitened_vectors and loss.vector_space == recipe.loss.vector_space != "whitened":
        loss = replace(loss, vector_space="whitened")
        notes.append(
            "loss      of mask vectors is in the whitened space that they are predicted in"
        )
    return replace(config, model=model, data=data, loss=loss), tuple(notes)


def _described(name: str) -> tuple[ModelConfig, Preprocessing | None]:
    """The network of some weights and the size of images it is for, where they say so."""
    path = Path(name)
    if not path.is_file():
        card = read_card(find_model(find_folder(name)))
        return card.config, card.preprocessing
    checkpoint = read_official_checkpoint(path)
    try:
        return examine(checkpoint.state, checkpoint.options, None).config, None
    except ValueError as error:
        msg = f"checkpoint {path}: {error}"
        raise ValueError(msg) from error


def _changes(before: Any, now: Any) -> dict[str, Any]:
    """The fields of a configuration that have another value than before."""
    names = [field.name for field in fields(before)]
    return {n: getattr(now, n) for n in names if getattr(now, n) != getattr(before, n)}


def _with_sizes(data: DataConfig, recipe: DataConfig, sizes: Preprocessing) -> DataConfig:
    """The recipe's image sizes in proportion to those of the weights; what was asked for stays."""
    asked = _changes(recipe, data)
    scale = sizes.short_side / recipe.eval_short_side
    scaled: dict[str, Any] = {"eval_short_side": sizes.short_side, "max_size": sizes.max_size}
    for name in SCALED:
        scaled[name] = tuple(max(1, round(side * scale)) for side in getattr(recipe, name))
    return replace(data, **{name: v for name, v in scaled.items() if name not in asked})


def _in_words(model: ModelConfig) -> str:
    layers = f"{model.encoder_layers} + {model.decoder_layers} layers"
    return f"{model.backbone}, {layers} of {model.hidden_dim}, {model.num_queries} queries"


def load_initial_weights(model: SOLQ, name: str, *, reset_head: bool) -> str:
    """Load the weights of a saved model, hub id or published file; what became of the class head.

    Class scores of categories with a name that the weights know begin as theirs, whatever their
    ids; those of others, and with `reset_head` all, begin anew. PCA components come with them.
    """
    source = open_model(name)
    state = source.state_dict()
    expected = model.state_dict()
    wrong = [
        key
        for key in sorted(expected.keys() | state.keys())
        if shape_of(state.get(key)) != shape_of(expected.get(key)) and not is_class_head(key)
    ]
    if wrong:
        shown = "; ".join(
            f"{key} is {shape_of(state.get(key))}, expected {shape_of(expected.get(key))}"
            for key in wrong[:4]
        )
        msg = (
            f"initial_weights {name} do not fit the network: {len(wrong)} tensors differ: {shown}. "
            "model.* must describe the network of these weights"
        )
        raise ValueError(msg)
    slots, told = _slots(source, model, reset_head=reset_head)
    for key in filter(is_class_head, expected):
        rows = slots
        if key.startswith("queries.") and model.config.query_selection == "agnostic":
            # One score, "object", in the first row; the others are not used.
            rows = {} if reset_head else {0: 0}
        state[key] = _with_rows(expected[key], state[key], rows)
    model.load_state_dict(state)
    if model.needs_codec and not source.needs_codec:
        codec = source.codec
        assert codec is not None
        model.codec = codec
    return told


def _with_rows(fresh: Tensor, trained: Tensor, rows: dict[int, int]) -> Tensor:
    """The fresh weights of a class head with the trained rows of some slots (ours → theirs)."""
    mixed = fresh.clone()
    for ours, theirs in rows.items():
        mixed[ours] = trained[theirs]
    return mixed


def _slots(source: SOLQ, model: SOLQ, *, reset_head: bool) -> tuple[dict[int, int], str]:
    """For each of the model's class slots that is kept the one of the source, and what to say."""
    known, wanted = source.categories, model.categories
    count = model.config.num_classes
    if reset_head:
        return {}, "class head begins anew for all categories, as --reset-head asks"
    is_nameless = known == Categories.numbered(source.config.num_classes)
    if count == source.config.num_classes and (known == wanted or is_nameless):
        why = "the weights name no categories" if is_nameless else "the same categories"
        return {slot: slot for slot in range(count)}, f"class head is kept: {why}"
    slot_of = {_spelt(entry.name): entry.slot for entry in known.entries}
    kept = [entry for entry in wanted.entries if _spelt(entry.name) in slot_of]
    new = [entry for entry in wanted.entries if _spelt(entry.name) not in slot_of]
    rows = {entry.slot: slot_of[_spelt(entry.name)] for entry in kept}
    parts = [f"begins anew for {_names(new)}" if new else "", f"is kept for {_names(kept)}"]
    return rows, "class head " + " and ".join(filter(None, parts if kept else parts[:1]))


def _spelt(name: str) -> str:
    return name.strip().casefold()


def _names(entries: list[Any]) -> str:
    names = [entry.name for entry in entries]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
