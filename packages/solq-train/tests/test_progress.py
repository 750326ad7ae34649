"""Progress is a live bar in a terminal and a plain line now and then elsewhere."""

from __future__ import annotations

import io
import re

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
    assert lines(console) == [
        "train 2/9  0:00:16, 0:01:52 left",
        "train 4/9  0:00:32, 0:00:53 left",
        "train 6/9  0:00:48, 0:00:29 left",
        "train 8/9  0:01:04, 0:00:09 left",
    ]


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


def test_the_last_line_has_the_time_that_all_took(console, clock):
    with show_steps(console, "train", 2) as advance:
        advance()
        clock[0] += 61.2
        advance()
    assert lines(console) == ["train 2/2  0:01:01"]


def test_work_done_in_an_earlier_process_does_not_make_the_rest_look_short(console, clock):
    with show_steps(console, "train", 1000, done=900) as advance:
        advance()
        clock[0] += 20.0
        advance()
    assert lines(console) == ["train 902/1000  0:00:20, 0:32:40 left"]


def test_without_a_terminal_a_long_line_stays_one(console):
    with show_steps(console, "train", 1) as advance:
        advance(1, "loss 3.1 " * 30)
    assert len(lines(console)) == 1


def test_without_a_terminal_there_are_no_control_codes(console):
    with show_steps(console, "train", 2) as advance, show_steps(console, "evaluate", 1) as inner:
        inner(1, "[a]")
        advance(2, "loss 3.1")
    assert all(character.isprintable() for line in lines(console) for character in line)


@pytest.mark.parametrize("no_color", [None, "1"])
def test_a_terminal_with_no_color_set_gets_none(monkeypatch, no_color):
    if no_color is None:
        monkeypatch.delenv("NO_COLOR", raising=False)
    else:
        monkeypatch.setenv("NO_COLOR", no_color)
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=100)
    with show_steps(console, "train", 2) as advance:
        advance(2, "loss 3.1")
    colors = re.findall(r"\x1b\[(?:[\d;]*;)?(?:3\d|38;[\d;]+|9\d)m", console.file.getvalue())
    assert bool(colors) == (no_color is None)
