"""Progress of long work: a live bar in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_INTERVAL = 15.0  # seconds between lines where there is no terminal


class Show(Protocol):
    """Tells how much of the work is done, with a text on how it goes."""

    def __call__(self, done: int, total: int, text: str = "") -> None: ...


class Advance(Protocol):
    """Tells that more steps are done."""

    def __call__(self, steps: int = 1, text: str = "") -> None: ...


@contextmanager
def show_steps(
    console: Console, description: str, total: int, *, done: int = 0
) -> Iterator[Advance]:
    """Shows `total` steps of work, `done` of which lie behind."""
    with show_count(console, description) as show:
        shown_text = ""

        def advance(steps: int = 1, text: str = "") -> None:
            nonlocal done, shown_text
            done += steps
            shown_text = text or shown_text
            show(done, total, shown_text)

        yield advance


@contextmanager
def show_count(console: Console, description: str) -> Iterator[Show]:
    """Shows work whose size is known only once it has begun."""
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(description, total=None, text="")

            def update(done: int, total: int, text: str = "") -> None:
                bar.update(task, completed=done, total=total, text=text)

            yield update
        return
    started = shown = time.monotonic()
    begun: int | None = None  # what was done when the first call came

    def report(done: int, total: int, text: str = "") -> None:
        nonlocal shown, begun
        begun = done if begun is None else begun
        now = time.monotonic()
        if done >= total or now - shown > PLAIN_INTERVAL:
            shown = now
            line = f"{description} {done}/{total} {text}".rstrip()
            times = plain_times(now - started, done - begun, total - done)
            console.print(f"{line}  {times}".rstrip(), highlight=False, soft_wrap=True)

    yield report


def plain_times(seconds: float, done: int, left: int) -> str:
    """The time that `done` units of work took, and what is left at that speed; h:mm:ss."""
    if seconds < 1:  # over before anybody waits
        return ""
    passed = str(timedelta(seconds=round(seconds)))
    if not left or not done:
        return passed
    return f"{passed}, {timedelta(seconds=round(seconds / done * left))} left"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
    )
