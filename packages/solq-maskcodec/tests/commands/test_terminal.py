"""What is said, and how, in terminals and elsewhere."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from solq_maskcodec.commands.terminal import Terminal


def test_elsewhere_tables_are_as_wide_as_they_have_to_be(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    table = Table("a column with a long name", "another one with a name that is long")
    Terminal().show(table)
    captured = capsys.readouterr()
    assert "another one with a name that is long" in captured.out
    assert "\x1b" not in captured.out
    assert captured.err == ""


def test_a_line_stays_a_line_with_all_its_brackets(capsys):
    line = "[bold]wrote[/] " + "a" * 300
    Terminal().show(line)
    assert capsys.readouterr().out == f"{line}\n"


def test_elsewhere_progress_is_a_line_now_and_then(capsys, monkeypatch):
    clock = iter([0.0, 5.0, 20.0, 20.0, 21.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with Terminal().progress("encode") as show:
        for done in (1, 2, 3):
            show(done, 3)
    captured = capsys.readouterr()
    assert captured.err == "encode 2/3\n"
    assert captured.out == ""


@pytest.mark.parametrize("has_colors", [True, False])
def test_in_a_terminal_progress_is_a_bar_that_goes_away(monkeypatch, has_colors):
    monkeypatch.setenv("TERM", "xterm-256color")
    if not has_colors:
        monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    terminal = Terminal()
    monkeypatch.setattr(terminal, "_progress", console)
    with terminal.progress("encode") as show:
        show(1, 2)
        show(2, 2)
    assert "encode" in stream.getvalue()
    assert "2/2" in stream.getvalue()
    assert ("\x1b[32m" in stream.getvalue()) == has_colors
