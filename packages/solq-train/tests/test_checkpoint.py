"""A checkpoint holds all that a run needs, and is there whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from solq_model import SOLQ, build_model
from solq_model.atomic import previous_of
from solq_train.checkpoint import (
    EARLIER,
    LAST,
    TRAINING_STATE,
    Progress,
    Resumed,
    Trained,
    has_checkpoint,
    load_checkpoint,
    load_newest,
    save_checkpoint,
)
from solq_train.config import OptimizerConfig
from solq_train.optim import build_optimizer, build_schedule

PROGRESS = Progress(step=12, evaluated=9, seconds=4.5, best=0.25)
ABOUT = {"config": {"seed": 3}, "metrics": {"segm.AP": 0.2}}


class Parts:
    """Model, optimizer and schedule of a run; `step` trains them on nothing sensible."""

    def __init__(self, config, seed: int) -> None:
        torch.manual_seed(seed)
        self.model: SOLQ = build_model(config)
        settings = OptimizerConfig(schedule="cosine")
        self.optimizer = build_optimizer(self.model, settings)
        self.schedule = build_schedule(self.optimizer, settings, total_steps=9, steps_per_epoch=3)

        self.trained = Trained(model=self.model, optimizer=self.optimizer, schedule=self.schedule)

    def step(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = torch.full_like(parameter, 0.1)
        self.optimizer.step()
        self.schedule.step()

    def save(self, output: Path, progress: Progress = PROGRESS, keep: int = 2) -> None:
        save_checkpoint(output, self.trained, progress, about=ABOUT, keep=keep)

    def load(self, directory: Path) -> Progress:
        return load_checkpoint(directory, self.trained)

    def resume(self, output: Path) -> Resumed | None:
        return load_newest(output, self.trained)

    def state(self) -> list[torch.Tensor]:
        moments = [v for s in self.optimizer.state.values() for v in s.values()]
        rates = torch.tensor([group["lr"] for group in self.optimizer.param_groups])
        return [*self.model.state_dict().values(), *moments, rates]


@pytest.fixture
def saved(small_model, tmp_path: Path) -> Path:
    parts = Parts(small_model, seed=1)
    parts.step()
    parts.save(tmp_path)
    return tmp_path / LAST


def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(small_model, tmp_path):
    stayed, came_back = Parts(small_model, seed=1), Parts(small_model, seed=2)
    stayed.step()
    stayed.save(tmp_path)
    stayed.step()
    resumed = came_back.resume(tmp_path)
    assert resumed is not None
    assert resumed.progress == PROGRESS
    assert resumed.card["config"] == ABOUT["config"]
    assert resumed.card["metrics"] == ABOUT["metrics"]
    assert resumed.skipped == ()
    came_back.step()
    for ours, theirs in zip(came_back.state(), stayed.state(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_is_a_saved_model_too(saved):
    assert isinstance(SOLQ.load(saved), SOLQ)


def test_a_checkpoint_holds_no_code(saved):
    content = torch.load(saved / TRAINING_STATE, weights_only=True)
    assert content["progress"] == vars(PROGRESS)


def steps(output: Path) -> list[int]:
    """The steps of the checkpoints of a run, newest first."""
    folders = [output / LAST, *sorted((output / EARLIER).glob("*"), reverse=True)]
    return [json.loads((folder / "training.json").read_text())["step"] for folder in folders]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_as_many_checkpoints_are_kept_as_asked(small_model, tmp_path, keep):
    parts = Parts(small_model, seed=1)
    for step in (1, 2, 2, 3, 4):  # one of them is written twice
        parts.save(tmp_path, Progress(step=step), keep)
    assert steps(tmp_path) == [4, 3, 2][:keep]


@pytest.mark.parametrize("writer", ["torch.save", "solq_model.saved.save_file", "os.fsync"])
def test_a_write_that_fails_leaves_the_last_good_one(small_model, saved, monkeypatch, writer):
    def fill_the_disk(*_):
        raise OSError(28, "No space left on device")

    parts = Parts(small_model, seed=3)
    with monkeypatch.context() as patch:
        patch.setattr(writer, fill_the_disk)
        with pytest.raises(OSError, match="No space left"):
            parts.save(saved.parent, Progress(step=15))
    assert parts.load(saved) == PROGRESS
    assert {path.name for path in saved.parent.iterdir()} <= {LAST, EARLIER}
    assert steps(saved.parent) == [12]


def test_a_process_killed_between_two_renames_leaves_the_last_good_one(small_model, saved):
    for aside in (previous_of(saved), saved.parent / EARLIER / "step-00000012"):
        aside.parent.mkdir(exist_ok=True)
        saved.rename(aside)
        assert has_checkpoint(saved.parent)
        resumed = Parts(small_model, seed=3).resume(saved.parent)
        assert resumed is not None
        assert resumed.directory == aside
        aside.rename(saved)


def test_the_newest_whole_checkpoint_is_found_and_the_damaged_ones_are_named(small_model, tmp_path):
    parts = Parts(small_model, seed=1)
    for step in (1, 2, 3):
        parts.save(tmp_path, Progress(step=step), keep=3)
    (tmp_path / LAST / TRAINING_STATE).write_bytes(b"half")
    (tmp_path / EARLIER / "step-00000002" / "training.json").write_text("{")
    resumed = parts.resume(tmp_path)
    assert resumed is not None
    assert resumed.progress.step == 1
    assert [str(tmp_path / LAST) in resumed.skipped[0], "step-00000002" in resumed.skipped[1]] == [
        True,
        True,
    ]


def test_without_a_folder_there_is_no_checkpoint(small_model, tmp_path):
    assert not has_checkpoint(tmp_path)
    assert Parts(small_model, seed=1).resume(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"not a file of torch", b"PK\x03\x04 cut off"])
def test_a_foreign_training_state_is_refused_by_name(small_model, saved, content):
    (saved / TRAINING_STATE).write_bytes(content)
    with pytest.raises(ValueError, match=rf"checkpoint .*{TRAINING_STATE}: not a whole training"):
        Parts(small_model, seed=1).load(saved)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_training_state_is_refused_by_name(small_model, saved, keep):
    whole = (saved / TRAINING_STATE).read_bytes()
    (saved / TRAINING_STATE).write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ValueError, match=rf"checkpoint .*{TRAINING_STATE}: not a whole training"):
        Parts(small_model, seed=1).load(saved)


@pytest.mark.parametrize("content", [[], {}, {"optimizer": 1}, torch.zeros(2)])
def test_a_state_of_something_else_is_refused_by_name(small_model, saved, content):
    torch.save(content, saved / TRAINING_STATE)
    with pytest.raises(ValueError, match=rf"checkpoint .*{TRAINING_STATE}: not a whole training"):
        Parts(small_model, seed=1).load(saved)


def test_a_model_folder_without_training_state_is_refused_by_name(small_model, saved):
    (saved / TRAINING_STATE).unlink()
    with pytest.raises(ValueError, match=rf"checkpoint .*{TRAINING_STATE}: .*No such file"):
        Parts(small_model, seed=1).load(saved)


def test_the_checkpoint_of_another_network_is_refused(small_model, saved):
    other = Parts(replace(small_model, num_classes=4), seed=1)
    expected = r"weights .*model.safetensors do not fit the model: .*class_heads.heads.0.bias is"
    with pytest.raises(ValueError, match=expected):
        other.load(saved)
