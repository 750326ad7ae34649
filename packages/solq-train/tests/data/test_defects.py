"""Defects: their words and their order."""

from __future__ import annotations

from solq_train.data.defects import DataError, Defect, DefectKind, shown


def test_data_error_is_a_value_error() -> None:
    assert issubclass(DataError, ValueError)


def test_message_names_the_entry_first_and_the_whole_file_by_nothing() -> None:
    assert Defect(DefectKind.NO_FILE, "images[2]", "is gone").message == "images[2]: is gone"
    assert Defect(DefectKind.NO_FILE, "", "no such file").message == "no such file"


def test_kinds_go_from_errors_to_notes() -> None:
    grave = ["error", "warning", "note"]
    ranks = [grave.index(kind.severity) for kind in DefectKind]
    assert ranks == sorted(ranks)


def test_kinds_have_titles_of_their_own() -> None:
    assert len({kind.title for kind in DefectKind}) == len(list(DefectKind))


def test_long_values_are_shortened_in_messages() -> None:
    assert shown([1, 2.5]) == "[1, 2.5]"
    assert len(shown(list(range(1000)))) < 60
    assert len(shown("x" * 1000)) <= 60
