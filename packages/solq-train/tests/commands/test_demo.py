"""`solq demo`: from nothing to a trained network and its report."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from solq_train.commands import demo


@pytest.fixture
def small_demo(solq, two_stage_config, tmp_path, monkeypatch):
    """The demo with a small network on a small data set, in a folder of its own."""
    config = replace(two_stage_config, device="cpu")
    monkeypatch.setattr(demo, "tiny_cpu", lambda: config)
    small = partial(demo.MakeShapes, num_train=8, num_val=4, image_size=64)
    monkeypatch.setattr(demo, "MakeShapes", small)
    monkeypatch.setattr(demo, "QUICK_STEPS", 1)
    monkeypatch.chdir(tmp_path)
    return partial(solq, "demo")


def test_the_demo_leaves_a_report_a_summary_and_the_best_weights(small_demo, tmp_path):
    ran = small_demo()
    assert (ran.code, ran.errors) == (0, "")
    output = tmp_path / "runs" / "demo"
    assert {"report.html", "summary.json", "best"} <= {path.name for path in output.iterdir()}
    summary = json.loads((output / "summary.json").read_text())
    assert {"bbox.AP", "segm.AP", "ceiling.segm.AP", "train_seconds", "total_seconds"} <= set(
        summary
    )
    assert summary["steps"] == 4
    assert "mask ceiling" in ran.output
    assert "SOLQ demo: shapes" in (output / "report.html").read_text()


def test_the_three_lines_that_it_prints_work(small_demo, tmp_path):
    lines = small_demo("--quick").output.splitlines()
    start = lines.index("from solq_model import SOLQ")
    exec("\n".join(lines[start : start + 3]), {})
    assert (tmp_path / "out.png").is_file()


def test_the_short_form_takes_fewer_steps(small_demo, tmp_path):
    assert small_demo("--quick", "--output", "short").code == 0
    assert json.loads((tmp_path / "short" / "summary.json").read_text())["steps"] == 1


def test_the_demo_can_be_repeated(small_demo):
    assert small_demo("--quick").code == 0
    assert small_demo("--quick").code == 0


def test_a_folder_with_other_files_is_not_touched(small_demo, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    ran = small_demo("--quick", "--output", "mine")
    assert ran.code == 2
    assert "expected a new or empty folder" in ran.errors
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "precious"
