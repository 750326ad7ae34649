"""Reports as tables and text."""

from __future__ import annotations

from pathlib import Path

from solq_train.data.defects import Defect, DefectKind
from solq_train.data.report import CategoryCount, DataReport, DataSummary, DefectCount

SUMMARY = DataSummary(
    num_images=3,
    num_empty_images=1,
    num_instances=9,
    num_crowds=2,
    num_small=4,
    num_medium=3,
    num_large=2,
    categories=(CategoryCount(id=7, name="star", num_instances=9),),
)


def defects(*messages: str) -> list[Defect]:
    return [Defect(DefectKind.NO_FILE, "", message) for message in messages]


MISSING = DefectCount(
    kind=DefectKind.IMAGE_MISSING, count=5, examples=defects("image id 1", "image id 2")
)
CROWD = DefectCount(kind=DefectKind.CROWD, count=1, examples=defects("annotation id 4"))


def report(*defects: DefectCount, summary: DataSummary | None = SUMMARY) -> DataReport:
    return DataReport(
        annotations=Path("instances.json"), images=Path("train"), defects=defects, summary=summary
    )


def test_only_errors_are_errors() -> None:
    assert report(CROWD, MISSING).has_errors
    assert not report(CROWD).has_errors
    assert not report().has_errors


def test_summary_and_category_tables() -> None:
    assert ["objects", "9"] in report().summary_table()
    assert report().category_table() == [["id", "category", "objects"], ["7", "star", "9"]]


def test_tables_of_an_unreadable_file_have_titles_only() -> None:
    assert len(report(summary=None).summary_table()) == 1
    assert len(report(summary=None).category_table()) == 1


def test_text_says_how_many_and_which() -> None:
    lines = report(MISSING, CROWD).to_text().splitlines()
    assert lines[0] == "instances.json with images in train: 5 errors, 0 warnings, 1 notes"
    assert lines[1] == "error: missing image file: 5 (training stops)"
    assert lines[2:5] == ["    image id 1", "    image id 2", "    …"]
    assert lines[5:] == [
        "note: crowd region: 1 (training leaves it out; evaluation keeps it)",
        "    annotation id 4",
    ]
