"""Items one by one ↔ a JSON list in a file; the whole list is never held."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from solq_model.atomic import atomic_file

_CHUNK = 1 << 20  # bytes read at a time
_LONGEST_ITEM = 1 << 25  # characters; the run lengths of a mask are a thousand times shorter
_DECODER = json.JSONDecoder()


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


def read_list(file: IO[bytes]) -> Iterator[Any]:
    """The items of the list, which is never held as a whole.

    ValueError where the file is no list or breaks off, when that is reached.
    """
    text = _Text(file)
    if text.mark() != "[":
        msg = f"must be a list of detections, begins with {text.mark()!r}"
        raise ValueError(msg)
    text.step()
    count = 0
    while text.mark() != "]":
        if count:
            if text.mark() != ",":
                msg = f"must go on with ',' or ']' after {count} entries, got {text.mark()!r}"
                raise ValueError(msg)
            text.step()
        yield text.item(count)
        count += 1
    text.step()
    if text.mark():
        msg = f"must end after the list of {count} entries, goes on with {text.mark()!r}"
        raise ValueError(msg)


class _Text:
    """A place in a text of which only the next characters are held."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._held = ""
        self._place = 0

    def mark(self) -> str:
        """The next character that is no space; nothing at the end."""
        while True:
            while self._place < len(self._held):
                character = self._held[self._place]
                if character not in " \t\r\n":
                    return character
                self._place += 1
            if not self._read_more():
                return ""

    def step(self) -> None:
        """Go past one character."""
        self._place += 1

    def item(self, index: int) -> Any:
        """The JSON value that begins here; goes past it."""
        self.mark()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._held, self._place)
            except json.JSONDecodeError as error:
                if len(self._held) - self._place < _LONGEST_ITEM and self._read_more():
                    continue
                msg = f"entry {index} must be JSON, but: {error.msg}"
                raise ValueError(msg) from error
            except RecursionError:
                msg = f"entry {index} must be a detection, but is nested too deep"
                raise ValueError(msg) from None
            # A number at the end of what is held may go on.
            if end < len(self._held) or not self._read_more():
                self._place = end
                return value

    def _read_more(self) -> bool:
        more = self._file.read(_CHUNK)
        text = self._decoder.decode(more, final=not more)
        self._held, self._place = self._held[self._place :] + text, 0
        return bool(more)
