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
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path, *, keep_old_as: Path | None = None) -> Iterator[Path]:
    """A temporary folder to fill, which replaces the folder `path` when the block ends well.

    A folder cannot be replaced in one step: for a moment the old one lives on as
    `previous_of(path)`, where readers find it if the process is stopped right then. With
    `keep_old_as` it is renamed to that instead, and stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        _sync_folder(temporary)
        old = keep_old_as or previous_of(path)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        temporary.rename(path)
        _sync_folder(path.parent)
        shutil.rmtree(previous_of(path), ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Delete what processes that were killed while writing left in a folder."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def previous_of(path: Path) -> Path:
    """Where the last good state of a folder is while it is being replaced."""
    return path.with_name(f"{path.name}.previous")


def _sync(path: Path) -> None:
    """Have the operating system put the file on disk before it gets its name."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Have the names in a folder on disk; Windows opens no folders, and orders renames itself."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
