"""Rows of text on where runs differ."""

from __future__ import annotations

from dataclasses import replace

import pytest

from solq_train.comparison import (
    category_differences,
    category_row,
    common_data,
    number_rows,
    read_runs,
    setting_rows,
    time_rows,
    titles,
)
from solq_train.comparison.differences import format_difference


@pytest.fixture(scope="module")
def runs(two_runs):
    return read_runs(two_runs)


@pytest.fixture(scope="module")
def metrics(runs):
    coco = common_data(runs, None).coco
    return [run.metrics(coco) for run in runs]


def test_each_run_after_the_first_has_a_column_of_differences(runs):
    assert titles([*runs, runs[1]]) == ["plain", *["perfect", "difference"] * 2]


def test_all_24_numbers_are_there_masks_first(metrics):
    rows = number_rows(metrics)
    assert len(rows) == 24
    assert rows[0] == ["mask AP", "0.000", "1.000", "+1.000"]
    assert rows[5] == ["mask AP large", "-", "-", ""]
    assert [row[0] for row in rows[12:14]] == ["box AP", "box AP50"]


def test_a_run_without_masks_has_no_number_there(metrics):
    boxes = replace(metrics[1], segm=None)
    rows = number_rows([metrics[0], boxes])
    assert rows[0] == ["mask AP", "0.000", "-", ""]
    assert number_rows([boxes, boxes])[0][0] == "box AP"
    (best, *_) = category_differences([metrics[0], boxes])
    assert best.values[1] == metrics[1].bbox.by_category[best.id]


@pytest.mark.parametrize(
    ("first", "other", "text"),
    [(0.25, 0.5, "+0.250"), (0.5, 0.25, "-0.250"), (0.5, 0.4999, "0.000"), (-1.0, 0.5, "")],
)
def test_a_difference_has_a_sign_unless_it_rounds_to_nothing(first, other, text):
    assert format_difference(first, other) == text


def test_categories_with_objects_are_in_order_of_their_difference(metrics):
    rows = category_differences(metrics)
    assert [row.largest for row in rows] == sorted((row.largest for row in rows), reverse=True)
    assert {row.name for row in rows} <= {"blob", "star", "ring"}
    assert category_row(rows[0])[-1] == f"{rows[0].largest:+.3f}"


def test_only_settings_that_differ_are_listed_by_their_full_names(runs):
    assert setting_rows(runs) == [
        ["optimizer.learning_rate", "0.001", "0.5"],
        ["seed", "42", "7"],
    ]


def test_a_setting_that_one_version_does_not_know_is_listed(runs):
    config = {name: value for name, value in runs[0].config.items() if name != "seed"}
    older = replace(runs[0], config=config)
    assert setting_rows([older, runs[0]]) == [["seed", "-", "42"]]


def test_times_are_always_listed_and_versions_where_they_differ(runs):
    rows = {row[0]: row[1:] for row in time_rows(runs)}
    assert rows["steps"] == ["4", "4"]
    assert rows["images a second, median"][0] == rows["images a second, median"][1] != "-"
    assert "versions.torch" not in rows
    summary = runs[0].summary | {"versions": {"torch": "1.0"}}
    other = replace(runs[0], summary=summary)
    assert ["versions.torch", "1.0"] in [row[:2] for row in time_rows([other, runs[1]])]
