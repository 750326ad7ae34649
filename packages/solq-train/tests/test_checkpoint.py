"""A checkpoint holds all that a run needs, and is there whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from solq_model import SOLQ, build_model
from solq_model.atomic import previous_of
from solq_train.checkpoint import (
    TRAINING_STATE,
    Progress,
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from solq_train.config import OptimizerConfig
from solq_train.optim import build_optimizer, build_schedule

PROGRESS = Progress(epoch=3, step=12, seconds=4.5, best=0.25)


class Parts:
    """Model, optimizer and schedule of a run; `step` trains them on nothing sensible."""

    def __init__(self, config, seed: int) -> None:
        torch.manual_seed(seed)
        self.model: SOLQ = build_model(config)
        settings = OptimizerConfig(schedule="cosine")
        self.optimizer = build_optimizer(self.model, settings)
        self.schedule = build_schedule(self.optimizer, settings, total_steps=9, steps_per_epoch=3)

    def step(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        self.optimizer.step()
        self.schedule.step()

    def save(self, directory: Path, progress: Progress = PROGRESS) -> None:
        save_checkpoint(directory, self.model, self.optimizer, self.schedule, progress)

    def load(self, directory: Path) -> Progress:
        return load_checkpoint(directory, self.model, self.optimizer, self.schedule)

    def state(self) -> list[torch.Tensor]:
        moments = [v for s in self.optimizer.state.values() for v in s.values()]
        rates = torch.tensor([group["lr"] for group in self.optimizer.param_groups])
        return [*self.model.state_dict().values(), *moments, rates]


@pytest.fixture
def saved(small_model, tmp_path: Path) -> Path:
    parts = Parts(small_model, seed=1)
    parts.step()
    parts.save(tmp_path / "last")
    return tmp_path / "last"


def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(small_model, tmp_path):
    stayed, came_back = Parts(small_model, seed=1), Parts(small_model, seed=2)
    stayed.step()
    stayed.save(tmp_path / "last")
    stayed.step()
    torch.manual_seed(99)  # as a new process would be somewhere else
    assert came_back.load(tmp_path / "last") == PROGRESS
    came_back.step()  # draws gradients from the random state that the checkpoint brought back
    for ours, theirs in zip(came_back.state(), stayed.state(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_is_a_saved_model_too(saved):
    assert isinstance(SOLQ.load(saved), SOLQ)


def test_a_checkpoint_holds_no_code(saved):
    content = torch.load(saved / TRAINING_STATE, weights_only=True)
    assert content["progress"] == vars(PROGRESS)


def test_a_write_that_fails_leaves_the_last_good_one(small_model, saved, monkeypatch):
    def fill_the_disk(_state, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    parts = Parts(small_model, seed=3)
    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        parts.save(saved, Progress(epoch=4))
    assert parts.load(saved) == PROGRESS
    assert [path.name for path in saved.parent.iterdir()] == ["last"]


def test_a_process_killed_between_two_renames_leaves_the_last_good_one(small_model, saved):
    saved.rename(previous_of(saved))
    assert has_checkpoint(saved)
    assert Parts(small_model, seed=3).load(saved) == PROGRESS


def test_without_a_folder_there_is_no_checkpoint(tmp_path):
    assert not has_checkpoint(tmp_path / "last")


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
