"""Items one by one → a JSON list in a file; neither side ever holds the whole list."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from solq_model.atomic import atomic_file


@contextmanager
def json_list(path: Path) -> Iterator[Callable[[object], None]]:
    """Writes items, one a line, into a file that is there only when it is complete."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        before = "["

        def write(item: object) -> None:
            nonlocal before
            file.write(before + json.dumps(item, separators=(",", ":")))
            before = ",\n"

        yield write
        file.write("[]\n" if before == "[" else "]\n")
