"""A folder that appears whole or not at all, and files put into it without copying."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solq_train.data.defects import DataError


@contextmanager
def new_folder(directory: Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes `directory` when the block ends without an error.

    `directory` must be new or empty, else DataError; so are errors of the file system.
    """
    if directory.exists() and not directory.is_dir():
        msg = f"{directory}: must be a folder for the data set, got a file"
        raise DataError(msg)
    if directory.is_dir() and any(directory.iterdir()):
        msg = f"{directory}: must be a new or empty folder, got one with files in it"
        raise DataError(msg)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{directory.name}.", dir=directory.parent
        ) as near:
            unfinished = Path(near) / directory.name
            unfinished.mkdir()
            yield unfinished
            if directory.exists():
                directory.rmdir()
            unfinished.rename(directory)
    except OSError as error:
        msg = f"{directory}: the data set cannot be written there: {error}"
        raise DataError(msg) from error


def link_or_copy(source: Path, target: Path) -> None:
    """Gives a file a second name, or a copy where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()  # a link would point elsewhere from its new place
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
