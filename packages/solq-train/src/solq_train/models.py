"""A name as people give it → a model: a saved folder, a hub id, or a published checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

from solq_model import (
    SOLQ,
    Categories,
    load_official,
    load_official_state_dict,
    read_official_checkpoint,
)
from solq_model.hub import find_folder
from solq_model.saved import WEIGHTS, find_model, load_codec, load_weights, read_card
from solq_train.data import read_coco

logger = logging.getLogger(__name__)


def open_model(name: str | Path, annotations: Path | None = None) -> SOLQ:
    """The model, in evaluation mode.

    A published file knows no categories: their names come from `annotations`, whose ids are the
    class slots. It may be a file without annotations.
    """
    path = Path(name)
    if path.is_file():
        return load_official(path, categories=named_by(annotations)).model
    model = SOLQ.load(name)
    if annotations is not None:
        _check_categories(model, path, annotations)
    return model


def named_by(annotations: Path | None) -> Categories | None:
    """The categories of an annotation file, with their ids as class slots; None without a file."""
    return (
        None
        if annotations is None
        else Categories.by_id(read_coco(annotations, annotated=False).categories)
    )


def load_initial_weights(model: SOLQ, name: str, *, reset_head: bool) -> None:
    """Load the weights of a saved model, hub id or published file into a model to be trained.

    With `reset_head` the class head stays as it is. Components of PCA vectors come with them.
    """
    path = Path(name)
    if path.is_file():
        checkpoint = read_official_checkpoint(path)
        try:
            load_official_state_dict(model, checkpoint.state, reset_head=reset_head)
        except ValueError as error:
            msg = f"checkpoint {path}: {error}"
            raise ValueError(msg) from error
    else:
        folder = find_model(find_folder(name))
        load_weights(model, folder / WEIGHTS, reset_head=reset_head)
        if model.needs_codec:
            load_codec(model, folder)
        known = read_card(folder).categories
        if known != model.categories and not reset_head:
            logger.warning(
                "initial_weights %s: class scores begin as those of %s; --reset-head begins anew",
                name,
                _names(known),
            )
    if reset_head:
        slots = model.config.num_classes
        logger.warning("the class head begins anew, with %d slots; the rest is %s", slots, name)


def _names(categories: Categories) -> str:
    names = [entry.name for entry in categories.entries]
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _check_categories(model: SOLQ, path: Path, annotations: Path) -> None:
    known = {entry.id for entry in model.categories.entries}
    asked = {int(category["id"]) for category in read_coco(annotations, annotated=False).categories}
    if not asked & known:
        msg = (
            f"model {path} knows the category ids {sorted(known)[:10]}, none of which is in "
            f"{annotations}: {sorted(asked)[:10]}"
        )
        raise ValueError(msg)
