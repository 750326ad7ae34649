"""Atomic writing: a file or folder appears whole or not at all, whatever stops the process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which becomes `path` when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A temporary folder to fill, which replaces the folder `path` when the block ends well.

    A folder cannot be replaced in one step: for a moment the old one lives on as
    `previous_of(path)`, where readers find it if the process is stopped right then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        previous = previous_of(path)
        if path.exists():
            shutil.rmtree(previous, ignore_errors=True)
            path.rename(previous)
        temporary.rename(path)
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def previous_of(path: Path) -> Path:
    """Where the last good state of a folder is while it is being replaced."""
    return path.with_name(f"{path.name}.previous")


def _sync(path: Path) -> None:
    """Have the operating system put the file on disk before it gets its name."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
