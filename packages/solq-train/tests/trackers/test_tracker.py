"""Trackers are asked for by name, refused where absent, and keep their run's id in its folder."""

from __future__ import annotations

import importlib.util
import json

import pytest

from solq_train.trackers import check_trackers, open_tracker
from solq_train.trackers.tracker import RUN_IDS, flat, scalars


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    check_trackers(())
    with pytest.raises(ModuleNotFoundError, match=r'pip install "solq-train\[wandb\]"'):
        check_trackers(("wandb",))


def test_numbers_of_steps_and_evaluations_are_curves_of_two_groups():
    assert scalars({"step": 3, "loss": 2, "lr.base": 0.1}) == {
        "train/loss": 2.0,
        "train/lr.base": 0.1,
    }
    assert scalars({"step": 3, "segm.AP": 0.5, "note": "x"}) == {"val/segm.AP": 0.5}


def test_nested_settings_have_their_full_names():
    assert flat({"a": {"b": 1, "c": {"d": (2,)}}, "e": None}) == {
        "a.b": 1,
        "a.c.d": (2,),
        "e": None,
    }


def test_a_spoilt_file_of_run_ids_is_refused_with_what_to_do(tmp_path):
    (tmp_path / RUN_IDS).write_text("{")
    with pytest.raises(ValueError, match=r"trackers\.json: not valid JSON .*tracked as a new one"):
        open_tracker("mlflow", tmp_path, {}, 0)


def test_an_absent_tracker_is_refused_before_anything_is_written(
    solq, run_file, shapes, tmp_path, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    named = ("--recipe", "tiny_cpu", "--config", run_file, "--data", shapes)
    ran = solq("train", *named, "--output", tmp_path / "run", "--tracker", "mlflow")
    assert ran.code == 2
    assert len(ran.errors.splitlines()) == 1
    assert "solq-train[mlflow]" in ran.errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nothing", "tracker must be a list of 'tensorboard' or 'wandb' or 'mlflow'"),
        (["nothing"], r"tracker\[0\] must be 'tensorboard' or 'wandb' or 'mlflow', got 'nothing'"),
        (["wandb", "wandb"], "tracker must name each one once"),
    ],
)
def test_run_files_name_trackers_that_there_are(tmp_path, value, message):
    from solq_train.config import TrainConfig
    from solq_train.run_file import read_run_file

    path = tmp_path / "run.json"
    path.write_text(json.dumps({"tracker": value}))
    with pytest.raises(ValueError, match=message):
        read_run_file(path, TrainConfig())
