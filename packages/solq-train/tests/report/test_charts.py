"""Charts are well-formed SVG that shows the values given."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from solq_train.report.charts import (
    MAX_POINTS,
    WIDTH,
    Series,
    format_number,
    line_chart,
    linear_axis,
    log_axis,
)


def draw(*series: Series, **options: object) -> ElementTree.Element:
    return ElementTree.fromstring(
        line_chart(series, title="Loss", x_label="step", y_label="loss", **options)
    )


def points(svg: ElementTree.Element, line: int = 0) -> list[tuple[float, float]]:
    pairs = svg.findall("polyline")[line].attrib["points"].split()
    return [tuple(map(float, pair.split(","))) for pair in pairs]


def texts(svg: ElementTree.Element) -> list[str]:
    return [element.text for element in svg.iter("text")]


def test_a_rising_line_rises_from_left_to_right():
    (x0, y0), (x1, y1) = points(draw(Series(name="a", x=[0, 10], y=[1.0, 2.0])))

    assert 0 < x0 < x1 < WIDTH
    assert y1 < y0, "SVG counts downwards"


def test_equal_ratios_are_equally_far_on_a_logarithmic_axis():
    places = points(draw(Series(name="a", x=[0, 1, 2], y=[1.0, 10.0, 100.0]), log_y=True))

    assert places[0][1] - places[1][1] == pytest.approx(places[1][1] - places[2][1], abs=0.2)


def test_titles_labels_and_names_are_text_even_with_markup_in_them():
    svg = draw(Series(name="<b>&", x=[0, 1], y=[0.5, 0.25]))

    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-label"] == "Loss"
    assert {"step", "loss", "<b>& 0.25"} <= set(texts(svg))


def test_values_that_are_not_finite_are_left_out():
    svg = draw(Series(name="a", x=[0, 1, 2, 3], y=[1.0, math.nan, math.inf, 2.0]))

    assert len(points(svg)) == 2


def test_zero_and_less_are_left_out_of_a_logarithmic_chart():
    assert len(points(draw(Series(name="a", x=[0, 1, 2], y=[1.0, 0.0, 2.0]), log_y=True))) == 2


def test_a_long_line_is_drawn_as_means_of_neighbours():
    series = Series(name="a", x=range(10_000), y=[float(i % 2) for i in range(10_000)])
    places = points(draw(series, y_range=(0.0, 1.0)))

    assert len(places) <= MAX_POINTS
    assert max(y for _, y in places) - min(y for _, y in places) < 5, "all near one half"


def test_few_points_tell_their_value_on_hover():
    svg = draw(Series(name="AP", x=[100, 200], y=[0.5, 0.75]))

    notes = [element.text for element in svg.iter("title")]
    assert notes == ["AP: 0.5 at 100", "AP: 0.75 at 200"]


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("series", [[], [Series(name="a", x=[], y=[])]])
def test_without_values_the_chart_says_so(series, log_y):
    assert texts(draw(*series, log_y=log_y)) == ["no values yet"]


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("value", [1e-9, 0.3, 1.0, 7e8])
def test_one_value_alone_is_drawn(value, log_y):
    ((x, y),) = points(draw(Series(name="a", x=[5], y=[value]), log_y=log_y))

    assert math.isfinite(x)
    assert math.isfinite(y)


def test_values_beyond_a_fixed_range_lie_on_its_end():
    places = points(draw(Series(name="a", x=[0, 1], y=[5.0, 1.0]), y_range=(0.0, 1.0)))

    assert places[0][1] == places[1][1]


def test_long_legends_take_more_lines_and_push_the_drawing_down():
    few = draw(Series(name="a", x=[0, 1], y=[0, 1]))
    many = draw(*[Series(name=f"a long name {i}", x=[0, 1], y=[0, 1]) for i in range(9)])

    assert float(many.attrib["viewBox"].split()[3]) > float(few.attrib["viewBox"].split()[3])


def test_linear_ticks_are_round_numbers_within_the_axis():
    assert linear_axis(0.0, 1.0, snap=False).ticks == pytest.approx((0, 0.2, 0.4, 0.6, 0.8, 1.0))
    snapped = linear_axis(3.0, 97.0, snap=True)
    assert (snapped.low, snapped.high) == (0.0, 100.0)


def test_logarithmic_ticks_are_powers_of_ten_or_also_2_and_5_times_them():
    assert log_axis(0.3, 11.0).ticks == pytest.approx((0.2, 0.5, 1, 2, 5, 10, 20))
    assert log_axis(1e-5, 1.0).ticks == pytest.approx([10.0**i for i in range(-5, 1)])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.30000000000000004, "0.3"),
        (1300.0, "1300"),
        (20_000.0, "20k"),
        (1_500_000.0, "1.5M"),
        (2e-4, "2e-4"),
        (-0.5, "-0.5"),
    ],
)
def test_numbers_are_brief(value, text):
    assert format_number(value) == text
