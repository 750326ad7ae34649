"""What a command says: results to stdout, and to stderr how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..dataset.oracle import Progress as Show

_PLAIN_INTERVAL = 15.0  # seconds between lines where there is no terminal
_PLAIN_WIDTH = 100  # enough for every table


class Terminal:
    """The two streams of the command line; colours as the terminal and NO_COLOR want them."""

    def __init__(self) -> None:
        self._results = Console()
        if not self._results.is_terminal:
            self._results.width = _PLAIN_WIDTH
        self._progress = Console(stderr=True)

    def show(self, result: RenderableType) -> None:
        """A table, or a line of text as it is."""
        if isinstance(result, str):
            self._results.print(result, highlight=False, markup=False, soft_wrap=True)
        else:
            self._results.print(result)

    @contextmanager
    def progress(self, description: str) -> Iterator[Show]:
        """A function to tell (steps done, steps in all): a live bar, or a line now and then."""
        if self._progress.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
            with Progress(
                *columns, TimeRemainingColumn(), console=self._progress, transient=True
            ) as bar:
                task = bar.add_task(description, total=None)
                yield lambda done, total: bar.update(task, completed=done, total=total)
            return
        shown = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal shown
            if time.monotonic() - shown > _PLAIN_INTERVAL:
                shown = time.monotonic()
                self._progress.print(f"{description} {done}/{total}", highlight=False)

        yield report
