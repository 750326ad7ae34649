"""MLflow keeps a run in a file of the run folder, and goes on with the same one."""

from __future__ import annotations

import json

import pytest

from solq_train.trackers import open_tracker

mlflow = pytest.importorskip("mlflow", reason="mlflow absent: its tracker is not tested")


@pytest.mark.filterwarnings("ignore")  # of packages that mlflow brings along
def test_curves_and_settings_are_in_a_database_of_the_run_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "run"
    output.mkdir()
    config = {"optimizer": {"batch_size": 4}, "tracker": ("mlflow",)}
    for step, status in ((1, "stopped"), (2, "finished")):
        tracker = open_tracker("mlflow", output, config, step - 1)
        tracker.log({"step": step, "loss": step / 2})
        tracker.log({"step": step, "segm.AP": 0.25})
        tracker.finish(status)
    run_id = json.loads((output / "trackers.json").read_text())["mlflow"]
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{output / 'mlflow.db'}")
    assert [run.info.run_id for run in client.search_runs(["1"])] == [run_id]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params["optimizer.batch_size"] == "4"
    points = [(m.step, m.value) for m in client.get_metric_history(run_id, "train/loss")]
    assert points == [(1, 0.5), (2, 1.0)]
    assert run.data.metrics["val/segm.AP"] == 0.25
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
