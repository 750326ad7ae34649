"""Weights & Biases: a run of the user's account, or files only with WANDB_MODE=offline."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from solq_train.trackers.tracker import Status, scalars

PROJECT = "solq"
EXIT_CODES = {"finished": 0, "stopped": 255, "failed": 1}


class WandbTracker:
    """A run named after its folder; project and mode by wandb's own environment variables."""

    forgets = False

    def __init__(self, output: Path, config: Mapping[str, Any], run_id: str | None) -> None:
        import wandb

        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=output.resolve().name,
                dir=str(output),
                id=run_id,
                resume="allow",
                config=dict(config),
            )
        except wandb.Error as error:
            hint = "`wandb login`, or WANDB_MODE=offline to write files only"
            msg = f"tracker wandb: the run cannot be opened ({error}); {hint}"
            raise ValueError(msg) from error
        self.run_id = self.run.id

    def log(self, record: Mapping[str, Any]) -> None:
        """A row of the run."""
        self.run.log(scalars(record), step=record["step"])

    def finish(self, status: Status) -> None:
        """Upload what is left, and close."""
        self.run.finish(exit_code=EXIT_CODES[status])
