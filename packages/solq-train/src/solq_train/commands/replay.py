"""`solq replay`: a step that came to no number, once more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from solq_train.commands.output import as_table
from solq_train.failure import replay


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Repeat a training step whose loss or gradients were no numbers, and say where it began.

    Exit code 1 where the step comes to no number again, 0 where it does not.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """What the run left: OUTPUT/non_finite."""

    def run(self, console: Console) -> int:
        """Repeat the step; the exit code."""
        with console.status("replay"):
            found = replay(self.folder)
        rows = [["loss term", "value"], *([n, f"{v:.6g}"] for n, v in found.terms.items())]
        console.print(as_table(rows, title=f"step {found.step}"))
        if not found.same_weights:
            console.print("the weights are not those that were saved: their hash differs")
        if found.first_module is not None:
            console.print(f"first output that is not finite: {found.first_module}")
        if found.bad_gradients:
            names = ", ".join(found.bad_gradients[:5])
            console.print(f"{len(found.bad_gradients)} gradients are not finite: {names}")
        console.print("not finite again" if not found.finite else "finite this time")
        return 0 if found.finite else 1
