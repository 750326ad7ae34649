"""A published checkpoint → a saved model folder, with a report of what became of each tensor."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from solq_model.categories import Categories
from solq_model.published.file import read_official_checkpoint
from solq_model.published.names import Mapped, load_official_state_dict
from solq_model.published.recognition import Recognition, examine
from solq_model.records import Predictions
from solq_model.saved import load_model, model_folder, write_model
from solq_model.solq import SOLQ, build_model

REPORT = "conversion.json"
COCO_SLOTS = 91
# Small, and no multiple of any stride; learned positions reach 50 cells.
PROOF_SIZE = (135, 182)
BLOCK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class OfficialModel:
    """The model of a published file, and how the one was made of the other."""

    model: SOLQ
    recognition: Recognition
    tensors: tuple[Mapped, ...]
    """What became of each published tensor, in the order of the file."""
    notes: tuple[str, ...]
    """What else was in the file or in its names, and what was done about it."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A published model that was written as a saved one, and what it was made of."""

    official: OfficialModel
    source: Mapping[str, Any]
    """Of the published file: its name, SHA-256 and size; and what converted it."""

    @property
    def counts(self) -> Counter[str]:
        """How many published tensors play each role."""
        return Counter(mapped.role for mapped in self.official.tensors)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        recognition = self.official.recognition
        return {
            "source": dict(self.source),
            "from_options": list(recognition.from_options),
            "on_trust": list(recognition.on_trust),
            "notes": list(self.official.notes),
            "counts": dict(self.counts),
            "tensors": [asdict(mapped) for mapped in self.official.tensors],
        }


def load_official(
    path: str | Path,
    *,
    categories: Categories | None = None,
    changes: Mapping[str, Any] | None = None,
) -> OfficialModel:
    """The model of a published file, in evaluation mode, and what became of each tensor.

    The network is recognised from names and shapes, and from the published options beside them;
    `changes` are fields of its `ModelConfig` that count whatever the file says. Without
    `categories`, 91 class slots are those of COCO, and those of other numbers have no names.
    """
    checkpoint = read_official_checkpoint(path)
    try:
        recognition = examine(checkpoint.state, checkpoint.options, changes)
        model = build_model(recognition.config)
        tensors = load_official_state_dict(model, checkpoint.state)
        model.categories = _categories(recognition.config.num_classes, categories)
    except ValueError as error:
        msg = f"checkpoint {path}: {error}"
        raise ValueError(msg) from error
    return OfficialModel(
        model=model.eval(), recognition=recognition, tensors=tensors, notes=checkpoint.notes
    )


def _categories(num_classes: int, given: Categories | None) -> Categories:
    if given is None:
        is_coco = num_classes == COCO_SLOTS
        return Categories.coco() if is_coco else Categories.numbered(num_classes)
    if given.num_slots > num_classes:
        msg = (
            f"the weights have {num_classes} class slots, 0..{num_classes - 1}, but the ids of the "
            f"categories, which are their slots, reach {given.num_slots - 1}"
        )
        raise ValueError(msg)
    return given


def convert_official(
    path: str | Path,
    directory: str | Path,
    *,
    categories: Categories | None = None,
    changes: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Conversion:
    """Write a published checkpoint as a saved model, with a report; see `load_official`.

    The folder appears only after the model in it was read back and predicted the same, bit for
    bit. `progress` is told how many bytes of the file are hashed, and of how many.
    """
    path = Path(path)
    official = load_official(path, categories=categories, changes=changes)
    source = {
        "file": path.name,
        "sha256": sha256_of(path, progress),
        "bytes": path.stat().st_size,
        "converter": f"solq-model {version('solq-model')}",
    }
    conversion = Conversion(official=official, source=source)
    with model_folder(Path(directory)) as temporary:
        write_model(official.model, temporary, source)
        report = json.dumps(conversion.to_json(), indent=2)
        (temporary / REPORT).write_text(report + "\n", encoding="utf-8")
        check_same_predictions(official.model, load_model(temporary))
    return conversion


def sha256_of(path: Path, progress: Callable[[int, int], None]) -> str:
    """The file's SHA-256 in hexadecimal."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            progress(done, total)
    return digest.hexdigest()


def check_same_predictions(model: SOLQ, other: SOLQ) -> None:
    """RuntimeError unless both give the same bits for an image of noise."""
    image = torch.randn(3, *PROOF_SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pairs = zip(_outputs(model([image])), _outputs(other([image])), strict=True)
        if not all(torch.equal(a.view(torch.int32), b.view(torch.int32)) for a, b in pairs):
            msg = "a model that was read back predicts otherwise than the one that was written"
            raise RuntimeError(msg)


def _outputs(predictions: Predictions) -> list[torch.Tensor]:
    layers = (*predictions.auxiliary, predictions)
    found = [t for p in layers for t in (p.logits, p.boxes, p.mask_vectors)]
    return [tensor for tensor in found if tensor is not None]
