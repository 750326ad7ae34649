"""Files that appear whole or not at all, whatever stops the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path in the same folder to write to; its file becomes `path` when the block ends well."""
    # The ending stays: some writers choose the format by it.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        # On disk before it gets its name: else a crash of the machine could leave it empty.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
