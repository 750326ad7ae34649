"""The report is one whole page without anything from elsewhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from solq_train.report import (
    History,
    RunReport,
    read_metrics,
    write_report,
)
from solq_train.report.page import format_duration

VOID_TAGS = {"meta", "img", "input"}


class Page(HTMLParser):
    """The page's open tags, its addresses and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.images: list[dict[str, str]] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.addresses += [values[key] for key in ("src", "href") if key in values]
        if tag == "img":
            self.images.append(values)
        if re.fullmatch(r"h\d", tag):
            self.headings.append(tag)
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID_TAGS:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(run: RunReport, tmp_path: Path) -> Page:
    write_report(tmp_path / "report.html", run)
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_every_tag_is_closed_and_headings_follow_their_order(page):
    assert page.open == []
    assert page.headings[0] == "h1"
    assert page.headings.count("h1") == 1
    levels = [int(tag[1]) for tag in page.headings]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_nothing_comes_from_elsewhere(page, tmp_path):
    source = (tmp_path / "report.html").read_text(encoding="utf-8")

    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in page.addresses)
    assert "default-src &#39;none&#39;" in source
    assert "@import" not in source
    assert "url(" not in source


def test_links_inside_the_page_have_their_target(page, tmp_path):
    source = (tmp_path / "report.html").read_text(encoding="utf-8")

    for address in page.addresses:
        if address.startswith("#"):
            assert f'id="{address[1:]}"' in source


def test_numbers_settings_and_the_command_are_in_the_text(page):
    for said in ("0.765", "0.567", "0.900", "4 min 41 s", "solq train --recipe tiny", "2.15.0"):
        assert said in page.text
    assert "reached: 63 %" in page.text
    assert re.search(r"milestones\s*40, 45", page.text)
    assert re.search(r"resume\s*none", page.text)


def test_curves_show_the_last_layers_terms_only(page):
    assert "total 0.09" in page.text
    assert "ce 1" in page.text
    assert "ce_0" not in page.text
    assert "ce_enc" not in page.text


def test_pictures_have_words_and_a_sensible_size(page):
    assert [image["alt"] for image in page.images] == [
        f"{title}: {kind}"
        for title in ("Image 7", "Image 8", "Image 7")
        for kind in ("Ground truth", "Prediction")
    ] + ["Image 8: what query 4: cup looks at"]
    assert all(len(image["src"]) < 20_000 for image in page.images)


def test_markup_in_the_title_is_text(page):
    assert "Shapes & <b>more</b>" in page.text


def test_categories_without_objects_come_last(page):
    assert page.text.index("cup") < page.text.index("dog")


def test_a_detector_has_no_mask_figures(run, metrics, tmp_path):
    boxes_only = replace(metrics(0.765, 0.567), segm=None)
    history = History(training=(), evaluations=({"step": 100, "bbox.AP": 0.5},))
    path = tmp_path / "report.html"
    write_report(path, replace(run, metrics=boxes_only, ceiling=None, history=history))
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert "0.765" in page.text
    assert "In order of box AP" in page.text
    assert not any(words in page.text for words in ("Mask AP", "mask AP", "mask ceiling"))
    assert page.text.index("cup") < page.text.index("dog")


def test_a_run_without_history_or_pictures_has_a_report_too(run, metrics, tmp_path):
    empty = replace(
        run,
        history=History(training=(), evaluations=()),
        examples=(),
        best=(),
        worst=(),
        attention=(),
        metrics=metrics(0.0, -1.0),
        ceiling=metrics(-1.0, -1.0),
    )
    write_report(tmp_path / "report.html", empty)

    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert "Worst images" not in page.text


def test_a_failure_leaves_the_old_report_and_nothing_else(run, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")

    with pytest.raises(UndefinedError):
        write_report(path, replace(run, examples=("no picture",)))

    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "old"


def test_metrics_are_read_by_kind(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10, "loss": 2.0}\n{"step": 10, "bbox.AP": 0.1}\n')

    history = read_metrics(path)

    assert history.training == ({"step": 10, "loss": 2.0},)
    assert history.evaluations == ({"step": 10, "bbox.AP": 0.1},)


def test_steps_repeated_after_a_resume_replace_the_first_ones(tmp_path):
    path = tmp_path / "metrics.jsonl"
    steps = [(10, 1.0), (20, 2.0), (30, 3.0), (20, 4.0)]
    path.write_text("".join(json.dumps({"step": s, "loss": v}) + "\n" for s, v in steps))

    assert [(r["step"], r["loss"]) for r in read_metrics(path).training] == [(10, 1.0), (20, 4.0)]


def test_a_last_line_cut_off_in_writing_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10, "loss": 2.0}\n{"step": 20, "lo')

    assert len(read_metrics(path).training) == 1


@pytest.mark.parametrize("line", ["{", "[1]", '{"loss": 1.0}', "7"])
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{line}\n{{"step": 20, "loss": 1.0}}\n')

    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1: expected a JSON object with `st"):
        read_metrics(path)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.26, "0.3 s"), (59.97, "1 min 0 s"), (281.4, "4 min 41 s"), (7322.0, "2 h 2 min")],
)
def test_durations_use_their_two_largest_units(seconds, text):
    assert format_duration(seconds) == text
