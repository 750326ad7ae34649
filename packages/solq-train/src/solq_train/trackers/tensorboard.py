"""TensorBoard: event files in the run folder, for `tensorboard --logdir`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from solq_train.trackers.tracker import Status, scalars

FOLDER = "tensorboard"


class TensorBoardTracker:
    """Writes `tensorboard/` in the run folder. Sends nothing anywhere."""

    forgets = True

    def __init__(self, output: Path, config: Mapping[str, Any], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = output / FOLDER
        # Events of steps that are done again are hidden by TensorBoard.
        purge_step = step + 1 if folder.is_dir() else None
        self.writer = SummaryWriter(str(folder), purge_step=purge_step)
        shown = json.dumps(config, indent=2)
        # Four spaces make text code in Markdown.
        text = "\n".join(f"    {line}" for line in shown.splitlines())
        self.writer.add_text("config", text, step)

    def log(self, record: Mapping[str, Any]) -> None:
        """A point for every curve, on disk at once: a killed run must not lose them."""
        for name, value in scalars(record).items():
            self.writer.add_scalar(name, value, record["step"])
        self.writer.flush()

    def finish(self, status: Status) -> None:  # noqa: ARG002 — event files know no status
        """Close the file."""
        self.writer.close()
