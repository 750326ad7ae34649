"""`solq explain`: where a query of the decoder looks in an image → a picture, and its numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from solq_model.atomic import atomic_file
from solq_model.draw import picture_format
from solq_train.models import open_model
from solq_train.run import resolve_device


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Show where a query looks in an image, layer by layer, and what it finds there.

    Dots are the places that its attention reads. Layers, heads, levels, queries and instances are
    counted from 0.
    """

    image: Annotated[Path, tyro.conf.Positional]
    """Image file."""
    model: Path
    """Saved model (a folder such as runs/demo/best), or a published .pth file."""
    output: Path
    """Picture to write; the ending chooses the format."""
    instance: int | None = None
    """The query behind this object of `solq predict`, best first; 0 where nothing else is asked."""
    query: int | None = None
    """The query of this number instead, whatever it finds."""
    threshold: float = 0.5
    """Smallest score of an instance."""
    layer: int | Literal["all"] | None = None
    """One layer of the decoder, or all in one panel; by default a panel for each."""
    head: int | None = None
    """Only what this attention head reads."""
    level: int | None = None
    """Only what is read from this level of features, 0 the finest."""
    style: Literal["points", "heat"] = "points"
    """A dot for each place, or all of them added up."""
    json: Path | None = None
    """File for places, weights, boxes and scores as numbers."""
    device: str = "auto"
    """auto: the GPU where there is one, else the CPU."""

    def run(self, console: Console) -> int:
        """Explain; the exit code."""
        self._check_files()
        model = open_model(self.model).to(resolve_device(self.device))
        explanation = model.explain(
            self.image, query=self.query, instance=self.instance, threshold=self.threshold
        )
        explanation.save(self.output, self.layer, self.head, self.level, style=self.style)
        if self.json is not None:
            with atomic_file(self.json) as temporary:
                temporary.write_text(json.dumps(explanation.to_json()), encoding="utf-8")
        found = f"query {explanation.query}: {explanation.name} {explanation.score:.2f}"
        console.print(f"{escape(found)}, see {self.output}", highlight=False)
        return 0

    def _check_files(self) -> None:
        """ValueError where the results cannot be written, before the network runs."""
        picture_format(self.output)
        for name, path in (("output", self.output), ("json", self.json)):
            if path is None:
                continue
            if not path.parent.is_dir():
                msg = f"{name} {path}: expected a file in a folder that exists, got none"
                raise ValueError(msg)
            if path.is_dir():
                msg = f"{name} {path}: expected a file, got a folder"
                raise ValueError(msg)
            if path.exists() and self.image.exists() and path.samefile(self.image):
                msg = f"{name} {path}: expected another file than the image"
                raise ValueError(msg)
