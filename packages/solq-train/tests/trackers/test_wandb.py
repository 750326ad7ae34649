"""W&B writes a run of files where it is told to be offline, and goes on with the same run."""

from __future__ import annotations

import json

import pytest

from solq_train.trackers import open_tracker

pytest.importorskip("wandb", reason="wandb absent: its tracker is not tested")


def test_offline_a_run_is_a_file_and_the_next_process_goes_on_with_its_id(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids = []
    for step, status in ((1, "stopped"), (2, "finished")):
        tracker = open_tracker("wandb", tmp_path, {"optimizer": {"batch_size": 4}}, step - 1)
        tracker.log({"step": step, "loss": 0.5})
        tracker.finish(status)
        ids.append(json.loads((tmp_path / "trackers.json").read_text())["wandb"])
    assert ids[0] == ids[1]
    files = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert files
    assert {file.stem for file in files} == {f"run-{ids[0]}"}
    assert all(file.stat().st_size > 500 for file in files)
