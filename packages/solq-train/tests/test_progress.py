"""Progress is a live bar in a terminal and a plain line now and then elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from solq_train import progress
from solq_train.progress import show_count, show_steps


@pytest.fixture
def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()


def test_without_a_terminal_the_end_is_one_line(console):
    with show_steps(console, "train", 3) as advance:
        for _ in range(3):
            advance()
    assert lines(console) == ["train 3/3"]


def test_without_a_terminal_long_work_speaks_every_quarter_minute(console, clock):
    with show_steps(console, "train", 9) as advance:
        for _ in range(8):
            clock[0] += 8.0
            advance()
    assert lines(console) == [f"train {n}/9" for n in (2, 4, 6, 8)]


def test_the_last_text_stays_until_another_comes(console):
    with show_steps(console, "train", 2) as advance:
        advance(0, "loss 3.1")
        advance(2)
    assert lines(console) == ["train 2/2 loss 3.1"]


def test_work_done_before_counts(console):
    with show_steps(console, "train", 5, done=4) as advance:
        advance()
    assert lines(console) == ["train 5/5"]


def test_work_whose_size_shows_later_is_counted(console):
    with show_count(console, "check") as show:
        show(2, 2, "a.png")
    assert lines(console) == ["check 2/2 a.png"]


def test_a_terminal_gets_a_bar(terminal):
    with show_steps(terminal, "train", 4) as advance:
        advance(4, "loss 3.1")
    shown = terminal.file.getvalue()
    assert "train" in shown
    assert "4/4" in shown
    assert "loss 3.1" in shown


def test_a_bar_may_stand_inside_another_as_evaluation_does_in_training(terminal):
    with show_steps(terminal, "train", 2) as advance:
        advance()
        with show_steps(terminal, "evaluate", 1) as inner:
            inner()
        advance()
    assert "evaluate" in terminal.file.getvalue()
