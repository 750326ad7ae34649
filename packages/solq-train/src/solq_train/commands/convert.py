"""`solq convert`: a published checkpoint → a saved model, with a report on every tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from solq_model import SOLQ, Categories, Conversion, convert_official
from solq_model.published.convert import REPORT
from solq_train.commands.output import as_table, results_folder
from solq_train.models import named_by
from solq_train.progress import Show, show_count
from solq_train.run_file import read_values

MEGABYTE = 1 << 20
# What tells networks apart at a glance.
SHOWN = (
    "backbone",
    "hidden_dim",
    "encoder_layers",
    "decoder_layers",
    "num_feature_levels",
    "num_queries",
    "num_classes",
    "mask_head",
    "box_refinement",
    "two_stage",
)


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Convert a published SOLQ or Deformable DETR checkpoint to a saved model.

    Reads `.pth` without running what is pickled in it, or `.safetensors` with published names.
    The network is recognised from names and shapes. Writes into OUTPUT the model
    (`model.safetensors`, `model.json`) and `conversion.json`: what became of each tensor.
    """

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """The published file."""
    output: Annotated[Path, tyro.conf.Positional]
    """Folder of the model; must be new or empty."""
    categories: Path | None = None
    """COCO annotation file that names the categories, whose ids are the class slots. Without it,
    91 slots are those of COCO."""
    config: Path | None = None
    """TOML or JSON file with model settings that count whatever the checkpoint says."""
    verbose: bool = False
    """Print what became of each tensor, too."""

    def run(self, console: Console) -> int:
        """Convert; the exit code."""
        with results_folder(self.output), show_count(console, "hash, MB") as show:
            conversion = convert_official(
                self.checkpoint,
                self.output,
                categories=named_by(self.categories),
                changes=self._changes(),
                progress=_in_megabytes(show),
            )
        if self.verbose:
            console.print(_table(conversion))
        console.print(_summary(conversion, self), highlight=False, soft_wrap=True)
        return 0

    def _changes(self) -> Mapping[str, Any]:
        if self.config is None:
            return {}
        changes = read_values(self.config)
        if not isinstance(changes, dict):
            msg = f"run file {self.config} must be a table of keys, got {changes!r}"
            raise ValueError(msg)
        return changes


def _in_megabytes(show: Show) -> Callable[[int, int], None]:
    return lambda done, total: show(-(-done // MEGABYTE), -(-total // MEGABYTE))


def _table(conversion: Conversion) -> Table:
    """What became of each published tensor."""
    rows = [["published", "shape", "role", "ours"]]
    for mapped in conversion.official.tensors:
        shape = " x ".join(map(str, mapped.shape)) or "scalar"
        rows.append([mapped.published, shape, mapped.role, mapped.ours])
    return as_table(rows)


def _summary(conversion: Conversion, command: Convert) -> str:
    official, source, counts = conversion.official, conversion.source, conversion.counts
    config, recognition = official.model.config, official.recognition
    settings = {name: getattr(config, name) for name in SHOWN}
    parameters = sum(parameter.numel() for parameter in official.model.parameters())
    lines = [
        f"{source['file']}: {source['bytes'] / 1e6:.1f} MB, SHA-256 {source['sha256']}",
        f"network     {_settings(settings)}; {parameters / 1e6:.1f} M parameters",
        f"tensors     {counts['weight'] + counts['codec']} mapped, {counts['copy']} shared copies, "
        f"{counts['constant']} constants checked; nothing dropped",
    ]
    if counts["copy that differs"]:
        differing = [m for m in official.tensors if m.role == "copy that differs"]
        lines.append(
            f"warning     {len(differing)} copies differ from the one that counts, the last, as in "
            f"the published code: {differing[0].published}, …"
        )
    for title, names in (
        ("from args", recognition.from_options),
        ("on trust", recognition.on_trust),
    ):
        if names:
            chosen = {name: getattr(config, name) for name in names}
            lines.append(f"{title:<11} {_settings(chosen)}")
    lines += [f"note        {note}" for note in official.notes]
    lines += [
        f"categories  {_categories(official.model, command)}",
        "proof       read back, the model predicts the same for an image of noise, bit for bit",
        f"wrote       {command.output} (every tensor: {command.output / REPORT})",
    ]
    return "\n".join(map(escape, lines))


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _categories(model: SOLQ, command: Convert) -> str:
    number = len(model.categories.entries)
    if command.categories is not None:
        return f"{number}, of {command.categories}"
    if model.categories == Categories.coco():
        return (
            f"{number}, those of COCO: 91 class slots, taken on trust (--categories names others)"
        )
    return f"{number} class slots without names (--categories gives them)"
