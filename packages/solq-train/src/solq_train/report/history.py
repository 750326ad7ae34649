"""`metrics.jsonl` → the history of a run.

The file holds one JSON object a line. A line with `loss` is a training record (`step`, `loss`, its
terms as `loss_…`, `lr`, `images_per_second`), one with `bbox.AP` or `segm.AP` an evaluation at its
`step`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class History:
    """The records of `metrics.jsonl`, in order of steps."""

    training: tuple[Record, ...]
    evaluations: tuple[Record, ...]


def read_metrics(path: Path) -> History:
    """The training records and evaluations of a `metrics.jsonl`.

    A run that was stopped and resumed wrote some steps twice: the later ones stand. A last line
    that was cut off in writing is left out.
    """
    training: list[Record] = []
    evaluations: list[Record] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            step = record["step"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            msg = f"{path}, line {number}: expected a JSON object with `step`, got {line[:60]!r}"
            raise ValueError(msg) from error
        for kind, records in ((("loss",), training), (("bbox.AP", "segm.AP"), evaluations)):
            if any(key in record for key in kind):
                while records and records[-1]["step"] >= step:
                    records.pop()
                records.append(record)
    return History(training=tuple(training), evaluations=tuple(evaluations))
