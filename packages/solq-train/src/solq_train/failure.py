"""A step that came to no number: kept whole, to be repeated and looked into."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from solq_model.atomic import atomic_directory
from solq_model.saved import load_model, write_model
from solq_model.solq import SOLQ
from solq_train.config import TrainConfig
from solq_train.criterion import Losses, Share
from solq_train.data import Batch, Target
from solq_train.portion import Portion, losses_of
from solq_train.provenance import file_sha256
from solq_train.run import Run, build_criterion
from solq_train.run_file import override

FAILURE = "non_finite"
BATCH = "batch.pt"
CARD = "failure.json"
FORMAT = "solq-failure/2"


class NonFiniteError(RuntimeError):
    """A loss or a gradient is no number any more; the step is in a folder."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What came out of a step that was repeated."""

    step: int
    same_weights: bool  # the weights are those that were saved, by their hash
    terms: dict[str, float]  # unweighted loss terms
    first_module: str | None  # the first whose output is not finite
    bad_gradients: tuple[str, ...]  # parameters whose gradient is not finite

    @property
    def finite(self) -> bool:
        """Whether the step came to numbers this time."""
        return all(map(math.isfinite, self.terms.values())) and not self.bad_gradients


def save_failure(output: Path, run: Run, weights: SOLQ, portion: Portion, losses: Losses) -> str:
    """Write portion, whole weights and configuration into `output/non_finite`; what to tell people.

    Processes after the first have folders of their own.
    """
    rank = run.processes.rank
    folder = output / (f"{FAILURE}-{rank}" if rank else FAILURE)
    terms = {name: value.item() for name, value in losses.terms.items()}
    bad = [name for name, value in terms.items() if not math.isfinite(value)] or ["gradients"]
    batch = portion.batch
    image_ids = [target.image_id for target in batch.targets]
    content = {"images": batch.images, "targets": [dict(vars(t)) for t in batch.targets]}
    with atomic_directory(folder) as temporary:
        write_model(weights, temporary)
        torch.save(content, temporary / BATCH)
        card = {
            "format": FORMAT,
            "step": portion.step,
            "place": portion.place,
            "padded_size": portion.padded_size,
            "share": asdict(portion.share),
            "terms": {name: repr(value) for name, value in terms.items()},  # JSON has no NaN
            "image_ids": image_ids,
            "weights_sha256": file_sha256(temporary / "model.safetensors"),
            "config": asdict(run.config),
        }
        (temporary / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return (
        f"not finite at step {portion.step}: {', '.join(bad)} "
        f"(images {', '.join(map(str, image_ids))}). `solq replay {folder}` repeats the step; "
        "a lower optimizer.learning_rate or optimizer.clip_norm may help"
    )


def replay(folder: Path) -> Replay:
    """Repeat the step that a folder was written for, on the CPU, and look where it goes wrong."""
    card, portion = _read_failure(folder)
    config = override(TrainConfig(), card["config"])
    model = load_model(folder, allow_non_finite=True).train()
    criterion = build_criterion(model, config.loss)
    with _watch(model) as bad_modules:
        losses = losses_of(model, model.codec, criterion, portion, config.precision)
    if torch.isfinite(losses.total):
        losses.total.backward()
    bad_gradients = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all()
    ]
    return Replay(
        step=portion.step,
        same_weights=file_sha256(folder / "model.safetensors") == card["weights_sha256"],
        terms={name: value.item() for name, value in losses.terms.items()},
        first_module=bad_modules[0] if bad_modules else None,
        bad_gradients=tuple(bad_gradients),
    )


def _read_failure(folder: Path) -> tuple[dict[str, Any], Portion]:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if card["format"] != FORMAT:
            msg = f"expected format {FORMAT!r}, got {card['format']!r}"
            raise ValueError(msg)
        content = torch.load(folder / BATCH, map_location="cpu", weights_only=True)
        targets = [Target(**target) for target in content["targets"]]
        height, width = card["padded_size"]
        portion = Portion(
            batch=Batch(images=content["images"], targets=targets),
            padded_size=(height, width),
            share=Share(**card["share"]),
            seed=card["config"]["seed"],
            step=card["step"],
            place=card["place"],
        )
        return card, portion
    except Exception as error:
        # Any kind: a damaged file leads the unpickler into errors of many kinds.
        msg = f"{folder}: not the folder of a step that came to no number ({error})"
        raise ValueError(msg) from error


@contextmanager
def _watch(model: nn.Module) -> Iterator[list[str]]:
    """The names of modules whose output is not finite, in the order in which they finish."""
    found: list[str] = []

    def watcher(name: str) -> Any:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not torch.isfinite(output).all():
                found.append(name)

        return look

    handles = [m.register_forward_hook(watcher(name)) for name, m in model.named_modules() if name]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
