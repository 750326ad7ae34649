"""MLflow: a run at MLFLOW_TRACKING_URI, or in a database file of the run folder."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from solq_train.trackers.tracker import Status, flat, scalars

EXPERIMENT = "solq"
DATABASE = "mlflow.db"
ARTIFACTS = "mlflow_artifacts"
STATUSES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflowTracker:
    """A run named after its folder. Nothing leaves the machine unless MLFLOW_TRACKING_URI says."""

    forgets = False

    def __init__(self, output: Path, config: Mapping[str, Any], run_id: str | None) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        folder = output.resolve()
        named = os.environ.get("MLFLOW_TRACKING_URI")
        uri = named or f"sqlite:///{folder / DATABASE}"
        try:
            self.client = MlflowClient(tracking_uri=uri)
            if run_id is None:
                artifacts = None if named else (folder / ARTIFACTS).as_uri()
                run = self.client.create_run(self._experiment(artifacts), run_name=folder.name)
                run_id = run.info.run_id
                params = [Param(name, str(value)) for name, value in flat(config).items()]
                self.client.log_batch(run_id, params=params)
            else:
                self.client.set_terminated(run_id, "RUNNING")
        except MlflowException as error:
            msg = f"tracker mlflow: the run cannot be opened at {uri} ({error})"
            raise ValueError(msg) from error
        self.run_id: str = run_id

    def _experiment(self, artifacts: str | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self.client.create_experiment(name, artifact_location=artifacts))

    def log(self, record: Mapping[str, Any]) -> None:
        """A point for every curve."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        points = [
            Metric(name, value, now, record["step"]) for name, value in scalars(record).items()
        ]
        self.client.log_batch(self.run_id, metrics=points)

    def finish(self, status: Status) -> None:
        """Close the run with what became of it."""
        self.client.set_terminated(self.run_id, STATUSES[status])
