"""Records go to metrics.jsonl, and to trackers once each."""

from __future__ import annotations

import json

import pytest

from solq_train import journal
from solq_train.journal import METRICS, Journal, forget_after
from solq_train.stopping import StoppedError


class Listener:
    """A tracker that keeps what it is told."""

    def __init__(self, forgets: bool = False) -> None:
        self.forgets = forgets
        self.heard: list[int] = []
        self.status: str | None = None

    def log(self, record) -> None:
        self.heard.append(record["step"])

    def finish(self, status) -> None:
        self.status = status


@pytest.fixture
def listeners(monkeypatch):
    found = {"wandb": Listener(), "tensorboard": Listener(forgets=True)}
    monkeypatch.setattr(journal, "open_tracker", lambda name, *_: found[name])
    return found


BOTH = ("wandb", "tensorboard")


def test_lines_after_a_step_and_half_a_line_are_forgotten(tmp_path):
    path = tmp_path / METRICS
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    assert forget_after(path, 2) == [{"step": 3}]
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_every_record_is_a_line_and_goes_to_every_tracker(tmp_path, listeners):
    told = Journal(tmp_path, writes=True)
    with told.tracked(BOTH, {}, 0):
        for step in (1, 2):
            told.log({"step": step, "loss": 0.5})
    lines = (tmp_path / METRICS).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    assert [each.heard for each in listeners.values()] == [[1, 2], [1, 2]]


def test_what_is_done_again_is_told_only_to_those_that_forgot_it(tmp_path, listeners):
    (tmp_path / METRICS).write_text(
        '{"step": 1, "loss": 1}\n{"step": 2, "loss": 1}\n{"step": 3, "loss": 1}\n'
    )
    told = Journal(tmp_path, writes=True)
    told.go_back(1)
    with told.tracked(BOTH, {}, 1):
        for step in (2, 3, 4):
            told.log({"step": step, "loss": 1})
        told.log({"step": 3, "segm.AP": 0.5})  # was never told
    assert listeners["wandb"].heard == [4, 3]
    assert listeners["tensorboard"].heard == [2, 3, 4, 3]
    assert len((tmp_path / METRICS).read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "finished"),
        (StoppedError("asked", 15), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (ValueError("no"), "failed"),
    ],
)
def test_trackers_are_told_how_a_run_ends(tmp_path, listeners, error, status):
    def run() -> None:
        with Journal(tmp_path, writes=True).tracked(BOTH, {}, 0):
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(type(error)):
            run()
    assert {each.status for each in listeners.values()} == {status}


def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(tmp_path, listeners, caplog):
    def fail(_) -> None:
        msg = "no connection"
        raise OSError(msg)

    listeners["wandb"].log = fail
    told = Journal(tmp_path, writes=True)
    with told.tracked(BOTH, {}, 0):
        told.log({"step": 1, "loss": 1})
        told.log({"step": 2, "loss": 1})
    assert caplog.text.count("tracker wandb: no connection; it is told nothing more") == 1
    assert listeners["tensorboard"].heard == [1, 2]
    assert listeners["wandb"].status is None


def test_processes_but_the_first_write_and_track_nothing(tmp_path, listeners):
    told = Journal(tmp_path, writes=False)
    with told.tracked(BOTH, {}, 0):
        told.log({"step": 1, "loss": 1})
    assert list(tmp_path.iterdir()) == []
    assert listeners["wandb"].heard == []
