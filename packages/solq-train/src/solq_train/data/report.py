"""What a check of a data set found, as records, tables and text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from solq_train.data.coco import CocoFile
from solq_train.data.defects import Defect, DefectKind
from solq_train.data.quality import CodecQuality

Table = list[list[str]]  # the first row has the titles

_EXAMPLES_IN_TEXT = 3


@dataclass(kw_only=True)
class DefectCount:
    """How often one kind of defect was found, and the first few of them."""

    kind: DefectKind
    count: int = 0
    examples: list[Defect] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class CategoryCount:
    """A category of the file and the number of its objects, crowds apart."""

    id: int
    name: str
    num_instances: int


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What is in the sound part of a data set. Objects are sized by area, as COCO does it."""

    num_images: int
    num_empty_images: int
    num_instances: int
    num_crowds: int
    num_small: int  # below 32² pixels
    num_medium: int
    num_large: int  # from 96² pixels on
    categories: tuple[CategoryCount, ...]


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """All defects of a data set by kind, gravest first, and its contents if it could be read."""

    annotations: Path
    images: Path
    defects: tuple[DefectCount, ...]
    summary: DataSummary | None
    coco: CocoFile | None = None  # the sound records
    quality: CodecQuality | None = None  # None: not measured

    @property
    def has_errors(self) -> bool:
        """Whether anything must be repaired: warnings and notes apart."""
        return any(found.kind.severity == "error" for found in self.defects)

    def summary_table(self) -> Table:
        """What the data set holds, one number a row; only titles if it could not be read."""
        rows = [["in the data set", "number"]]
        if self.summary is not None:
            summary = self.summary
            rows += [
                ["images", str(summary.num_images)],
                ["images without annotations", str(summary.num_empty_images)],
                ["objects", str(summary.num_instances)],
                ["small objects (area below 32²)", str(summary.num_small)],
                ["medium objects", str(summary.num_medium)],
                ["large objects (area from 96² on)", str(summary.num_large)],
                ["crowd regions", str(summary.num_crowds)],
                ["categories", str(len(summary.categories))],
            ]
        return rows

    def category_table(self) -> Table:
        """The categories and how many objects each has."""
        categories = self.summary.categories if self.summary is not None else ()
        rows = [[str(item.id), item.name, str(item.num_instances)] for item in categories]
        return [["id", "category", "objects"], *rows]

    def severity_counts(self) -> Counter[str]:
        """How many errors, warnings and notes there are."""
        counts = Counter[str]()
        for found in self.defects:
            counts[found.kind.severity] += found.count
        return counts

    def to_text(self) -> str:
        """The defects in plain lines: how many, of which kind, and the first of each."""
        counts = self.severity_counts()
        found_line = ", ".join(f"{counts[name]} {name}s" for name in ("error", "warning", "note"))
        lines = [f"{self.annotations} with images in {self.images}: {found_line}"]
        for found in self.defects:
            kind = found.kind
            lines.append(
                f"{kind.severity}: {kind.title}: {found.count} (training {kind.in_training})"
            )
            shown = found.examples[:_EXAMPLES_IN_TEXT]
            lines += [f"    {example.message}" for example in shown]
            lines += ["    …"] if found.count > len(shown) else []
        return "\n".join(lines)
