"""`solq compare`: two finished runs become tables and a page."""

from __future__ import annotations

import json
import re

import pytest

from solq_train.data import find_split


@pytest.fixture
def compare(solq, two_runs):
    def start(*arguments: object):
        return solq("compare", "--resamples", 5, *two_runs, *arguments)

    return start


def test_the_tables_say_where_the_runs_differ(compare):
    ran = compare()
    assert (ran.code, ran.errors) == (0, "")
    assert "mask AP of perfect minus that of plain: +1.000, 95 % of 5 resamples" in ran.output
    for text in ("mask AP ", "+1.000", "optimizer.learning_rate", "steps", "000001.png", "star"):
        assert text in ran.output


def test_three_runs_are_compared_with_the_first(solq, own_runs, trained):
    ran = solq("compare", *own_runs, trained, "--resamples", 0)
    assert ran.code == 0
    assert ran.output.count("difference ") >= 4
    assert "resamples" not in ran.output


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(compare, tmp_path):
    path = tmp_path / "pages" / "compare.html"
    ran = compare("--output", path, "--images", 2)
    assert ran.code == 0
    page = path.read_text()
    assert page.rstrip().endswith("</html>")
    assert page.count("<article") == 2
    pictures = re.findall(r'<img src="([^"]{30})', page)
    assert len(pictures) == 2 * 3
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in pictures)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(address.startswith(("data:", "#")) for address in addresses)
    for target in re.findall(r'href="#([^"]*)"', page):
        assert f'id="{target}"' in page
    assert page.count("<svg") == 5
    assert "perfect: quality 1.00" in page
    assert "+1.000 against plain" in page
    assert "Mask AP of perfect minus that of plain: +1.000, 95 % of 5 resamples" in page


def test_a_browser_shows_the_page_without_a_complaint_and_the_keyboard_enlarges(
    compare, opened, tmp_path
):
    assert compare("--output", tmp_path / "compare.html", "--images", 2).code == 0
    page = opened.goto(tmp_path / "compare.html")
    widths = page.eval_on_selector_all("img", "images => images.map(one => one.naturalWidth)")
    assert len(widths) == 2 * 3
    assert min(widths) >= 64
    box = page.get_by_role("checkbox").nth(1)
    box.focus()
    page.keyboard.press("Space")
    enlarged = page.locator("img").nth(1).bounding_box()
    assert (enlarged["width"], enlarged["height"]) == (1280, 900)


def test_names_are_text_on_the_page(solq, own_runs, tmp_path):
    odd = own_runs[0].rename(tmp_path / "<b>bold&")
    ran = solq("compare", odd, own_runs[1], "--resamples", 0, "--output", tmp_path / "compare.html")
    assert ran.code == 0
    page = (tmp_path / "compare.html").read_text()
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold&amp;" in page


def test_runs_without_masks_are_compared_by_their_boxes(solq, own_runs, tmp_path):
    for run in own_runs:
        path = run / "summary.json"
        path.write_text(path.read_text().replace('"segm.AP"', '"other"'))
        path = run / "detections.json"
        boxes = [{k: d[k] for k in d if k != "segmentation"} for d in json.loads(path.read_text())]
        path.write_text(json.dumps(boxes))
    ran = solq("compare", *own_runs, "--output", tmp_path / "compare.html")
    assert ran.code == 0
    assert "mask AP " not in ran.output.replace("codec ceiling, mask AP", "")
    assert "Box AP, perfect" in (tmp_path / "compare.html").read_text()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--threshold", 1.5), "threshold must be in 0..1, got 1.5"),
        (("--images", -1), "images must be at least 0, got -1"),
        (("--resamples", -1), "resamples must be at least 0, got -1"),
        (("--data", "none"), "none: no such folder"),
        (("--output", "."), "output .: expected a file, found a folder"),
        (("none",), "run none: no such folder"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(compare, more, expected):
    ran = compare(*more)
    assert (ran.code, ran.output) == (2, "")
    assert expected in ran.errors
    assert len(ran.errors.strip().splitlines()) == 1


def test_a_broken_image_leaves_no_page(solq, own_runs, copied_set, tmp_path):
    for path in find_split(copied_set.folder, "val").images.iterdir():
        path.write_bytes(b"no image")
    output = tmp_path / "compare.html"
    ran = solq("compare", *own_runs, "--data", copied_set.folder, "--output", output)
    assert ran.code == 2
    assert "must be a whole image file" in ran.errors
    assert not output.exists()


def test_a_detection_of_no_image_of_the_data_is_refused(solq, own_runs):
    path = own_runs[0] / "detections.json"
    path.write_text(path.read_text().replace('"image_id":1,', '"image_id":99,', 1))
    ran = solq("compare", *own_runs)
    assert ran.code == 2
    assert "image_id must be an image of" in ran.errors
