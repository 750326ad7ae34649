"""Words of the command line → numbers of coefficients, thresholds and paths, checked."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path


def parse_coefficients(words: Sequence[str]) -> list[int]:
    """Numbers of coefficients, ascending: each word is a number or a range by doubling, 16..1024.

    A range ends with its last number, also where doubling steps over it.
    """
    numbers: set[int] = set()
    check_not_empty("--coefficients", words, "number")
    for word in words:
        first, dots, last = word.partition("..")
        try:
            start, stop = int(first), int(last if dots else first)
        except ValueError:
            start, stop = 0, 0
        if not 1 <= start <= stop:
            expected = "positive numbers such as 256 or ranges such as 16..1024"
            msg = f"--coefficients must be {expected}, got {word!r}"
            raise ValueError(msg)
        while start < stop:
            numbers.add(start)
            start *= 2
        numbers.add(stop)
    return sorted(numbers)


def parse_rounds(rounds: Sequence[int]) -> list[int]:
    """Numbers of refining rounds, ascending."""
    check_not_empty("--refine", rounds, "number")
    if any(number < 0 for number in rounds):
        msg = f"--refine must be numbers of at least 0, got {min(rounds)}"
        raise ValueError(msg)
    return sorted(set(rounds))


def check_not_empty(option: str, values: Sequence[object], kind: str) -> None:
    """Raises ValueError for an option that was named without a value."""
    if not values:
        msg = f"{option} must be at least one {kind}, got none"
        raise ValueError(msg)


def parse_threshold(word: str) -> float | str:
    """A rule as it is, or a number; which rules there are is the codec's to say."""
    try:
        return float(word)
    except ValueError:
        return word


def check_output(
    option: str, path: Path, source: Path, formats: Collection[str] | None = None
) -> None:
    """Raises ValueError where the file cannot be written, before any work is done for it."""
    if formats is not None and path.suffix.lower() not in formats:
        msg = f"{option} {path}: must end in {', '.join(formats)}, got {path.suffix or 'no ending'}"
        raise ValueError(msg)
    if path.is_dir():
        msg = f"{option} {path}: must be a file, got a folder"
        raise ValueError(msg)
    if not path.parent.is_dir():
        msg = f"{option} {path}: must be in a folder that exists, got none at {path.parent}"
        raise ValueError(msg)
    if not os.access(path.parent, os.W_OK):
        msg = f"{option} {path}: must be in a folder that can be written, got {path.parent}"
        raise ValueError(msg)
    if path.exists() and source.exists() and path.samefile(source):
        msg = f"{option} {path}: must be another file than the one that is read"
        raise ValueError(msg)
