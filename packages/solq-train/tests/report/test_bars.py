"""Bars side by side."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from solq_train.report.bars import PLOT, bar_chart


def test_each_value_has_a_bar_of_its_height_and_says_it():
    drawing = bar_chart(("small", "large"), {"box": (0.5, 1.0), "mask": (0.25, -1.0)}, title="AP")
    ElementTree.fromstring(drawing)
    heights = [float(h) for h in re.findall(r'<rect[^>]* height="([\d.]+)" rx="2" style', drawing)]
    assert sorted(heights) == [11, 11, 0.25 * PLOT, 0.5 * PLOT, PLOT]
    assert "box, small: 0.500" in drawing
    assert drawing.count(">none<") == 1


def test_names_are_text():
    drawing = bar_chart(("<b>",), {"box": (0.5,)}, title='a "title"')
    ElementTree.fromstring(drawing)
    assert "&lt;b&gt;" in drawing
