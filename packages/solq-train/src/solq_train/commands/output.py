"""What commands print, and where they may write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from solq_train.metrics import CocoMetrics, format_table


def prepare_output(output: Path, *, resume: bool = False, resumable: bool = False) -> None:
    """Make the folder of a run; ValueError where it cannot be written or holds another run."""
    if resume and not resumable:
        msg = f"--resume: {output} holds no run to go on with"
        raise ValueError(msg)
    if output.exists() and not output.is_dir():
        msg = f"output {output}: expected a folder, found a file"
        raise ValueError(msg)
    if not resume and output.is_dir() and any(output.iterdir()):
        hint = " (--resume goes on)" if resumable else ""
        msg = f"output {output}: expected a new or empty folder, found files in it{hint}"
        raise ValueError(msg)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"output {output}: cannot be made ({error.strerror})"
        raise ValueError(msg) from error
    if not os.access(output, os.W_OK):
        msg = f"output {output}: expected a folder that can be written, got one that cannot"
        raise ValueError(msg)


@contextmanager
def results_folder(output: Path) -> Iterator[None]:
    """A new or empty folder to write files into; an error leaves it as it was before."""
    existed = output.exists()
    prepare_output(output)
    try:
        yield
    except BaseException:
        for entry in output.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if not existed:
            output.rmdir()
        raise


def prepare_file(output: Path) -> None:
    """Refuses at once what would fail only when the file is written."""
    if output.is_dir():
        msg = f"output {output}: expected a file, found a folder"
        raise ValueError(msg)
    output.parent.mkdir(parents=True, exist_ok=True)


def metrics_table(metrics: CocoMetrics, ceiling: CocoMetrics | None = None) -> Table:
    """The COCO numbers of boxes and masks, with the codec's ceiling where it is given."""
    return as_table(format_table(metrics, ceiling))


def as_table(rows: list[list[str]], title: str | None = None) -> Table:
    """Rows of text, the first of which are the titles, for the terminal."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table
