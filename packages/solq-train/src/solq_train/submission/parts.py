"""A folder of results under way: which model and settings they are of, and the parts that are done.

A part is the detections of `PART_IMAGES` images, in the order of the annotation file, one a line.
It is there when it is whole, so that a run which was stopped goes on after the last of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from solq_model import SOLQ
from solq_model.atomic import atomic_file, remove_unfinished
from solq_model.export.description import weights_sha256
from solq_train.engine import changed_settings
from solq_train.provenance import file_sha256, versions

PART_IMAGES = 100
MANIFEST = "manifest.json"
FORMAT = "solq-submission/1"
_FOLDER = "parts"


def manifest_of(model: SOLQ, annotations: Path, *, top_k: int, batch_size: int) -> dict[str, Any]:
    """All that has a say in the results, in plain values for JSON.

    Size of batches and kind of device do: sums are rounded in another order.
    """
    return {
        "format": FORMAT,
        "part_images": PART_IMAGES,
        "model": {
            "weights_sha256": weights_sha256(model),
            "config": asdict(model.config),
            "categories": model.categories.to_json(),
            "preprocessing": model.preprocessing.to_json(),
        },
        "data": file_sha256(annotations),
        "top_k": top_k,
        "batch_size": batch_size,
        "device": next(model.parameters()).device.type,
        "versions": versions(),
    }


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a folder, those that are done and those that are not."""

    folder: Path
    num_images: int

    def is_begun(self) -> bool:
        """Whether there is anything to go on with."""
        return (self.folder / MANIFEST).is_file()

    def begin(self, manifest: dict[str, Any]) -> None:
        """Make the folder ready for new parts."""
        with atomic_file(self.folder / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        (self.folder / _FOLDER).mkdir()

    def resume(self, manifest: dict[str, Any]) -> None:
        """Make the folder ready to go on; ValueError if its parts are of anything else."""
        path = self.folder / MANIFEST
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            msg = f"--resume: {path} cannot be read ({error})"
            raise ValueError(msg) from error
        if not isinstance(before, dict) or before.get("format") != FORMAT:
            msg = f"--resume: {path} must have the format {FORMAT!r}"
            raise ValueError(msg)
        changed = changed_settings(before, manifest)
        if changed:
            msg = f"--resume: {self.folder} was begun with something else: {'; '.join(changed)}"
            raise ValueError(msg)
        (self.folder / _FOLDER).mkdir(exist_ok=True)
        remove_unfinished(self.folder)
        remove_unfinished(self.folder / _FOLDER)

    def images_of(self, part: int) -> range:
        """The places of the part's images in the annotation file."""
        return range(part * PART_IMAGES, min((part + 1) * PART_IMAGES, self.num_images))

    def missing(self) -> list[int]:
        """The parts that are not there yet, in order."""
        return [part for part in self._all() if not self._path(part).is_file()]

    def write(self, part: int, lines: Sequence[str]) -> None:
        """Keep the detections of a part."""
        with atomic_file(self._path(part)) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def lines(self) -> Iterator[str]:
        """The detections of all parts, in order; one part is held at a time."""
        for part in self._all():
            yield from self._path(part).read_text(encoding="utf-8").splitlines()

    def num_bytes(self) -> int:
        """The size of all parts together."""
        return sum(self._path(part).stat().st_size for part in self._all())

    def _all(self) -> range:
        return range(-(-self.num_images // PART_IMAGES))

    def _path(self, part: int) -> Path:
        return self.folder / _FOLDER / f"{part:06d}.jsonl"
