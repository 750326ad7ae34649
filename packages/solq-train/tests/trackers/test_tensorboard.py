"""TensorBoard reads back what a run logged, once each, also after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solq_train import engine
from solq_train.step import train_step

pytest.importorskip("tensorboard", reason="TensorBoard absent: its tracker is not tested")


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a folder: for each curve the steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), purge_orphaned_data=True)
    events.Reload()
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


@pytest.fixture
def train(solq, run_file, shapes, tmp_path):
    named = ("--recipe", "tiny_cpu", "--config", run_file, "--data", shapes)
    tracked = ("--checkpoint-every", 1, "--tracker", "tensorboard")
    return lambda *more: solq("train", *named, *tracked, "--output", tmp_path / "run", *more)


def test_curves_are_those_of_the_metrics_file_each_point_once_though_the_run_was_stopped(
    train, tmp_path, monkeypatch
):
    def interrupted(run, batch, step, output):
        if step == 3:
            raise KeyboardInterrupt
        return train_step(run, batch, step, output)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "train_step", interrupted)
        assert train().code == 130
    # The newest checkpoint is damaged: steps that were logged are done again.
    (tmp_path / "run" / "last" / "training.json").write_text("{")
    ran = train("--resume")
    assert ran.code == 0
    assert "resumed after step 2 of 4" in ran.output
    shown = curves(tmp_path / "run" / "tensorboard")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for group, name in (("train", "loss"), ("train", "lr.base"), ("val", "segm.AP")):
        points = shown[f"{group}/{name}"]
        expected = [(r["step"], r[name]) for r in records if name in r]
        assert [step for step, _ in points] == [step for step, _ in expected]
        assert [v for _, v in points] == pytest.approx([v for _, v in expected], rel=1e-6)
