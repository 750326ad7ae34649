"""A name as people give it → a model: a saved folder, a hub id, or a published checkpoint."""

from __future__ import annotations

from pathlib import Path

from solq_model import SOLQ, Categories, load_official
from solq_train.data import read_coco


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


def _check_categories(model: SOLQ, path: Path, annotations: Path) -> None:
    known = {entry.id for entry in model.categories.entries}
    asked = {int(category["id"]) for category in read_coco(annotations, annotated=False).categories}
    if not asked & known:
        msg = (
            f"model {path} knows the category ids {sorted(known)[:10]}, none of which is in "
            f"{annotations}: {sorted(asked)[:10]}"
        )
        raise ValueError(msg)
