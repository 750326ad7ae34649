"""The report of a real run in a headless browser, by mouse and by keyboard."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from solq_train.report import write_report

TABS = ["Overview", "Categories", "Images", "Attention", "Run"]


@pytest.fixture
def page(opened, trained) -> Page:
    return opened.goto(trained / "report.html")


def visible_headings(page: Page) -> list[str]:
    return [heading.inner_text() for heading in page.locator("main h2:visible").all()]


def test_all_pictures_are_there(page):
    sizes = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    assert len(sizes) > 10
    assert all(size > 0 for size in sizes)


def test_one_panel_is_shown_and_a_click_on_its_tab_shows_another(page):
    assert page.get_by_role("tab").all_inner_texts() == TABS
    assert visible_headings(page) == ["Overview"]
    page.get_by_role("tab", name="Run").click()
    assert visible_headings(page) == ["The run"]
    expect(page.get_by_role("tab", name="Run")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tab", name="Overview")).to_have_attribute("aria-selected", "false")
    assert page.url.endswith("#run")


def test_tabs_work_with_the_keyboard(page):
    page.keyboard.press("Tab")
    for key, name in (
        ("ArrowRight", "Categories"),
        ("End", "Run"),
        ("ArrowRight", "Overview"),
        ("ArrowLeft", "Run"),
        ("Home", "Overview"),
    ):
        page.keyboard.press(key)
        tab = page.get_by_role("tab", name=name)
        expect(tab).to_be_focused()
        expect(tab).to_have_attribute("aria-selected", "true")
        assert len(visible_headings(page)) == 1
    # Of all tabs only the chosen one is a stop on the way through the page.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") != "tab"


def test_an_address_opens_the_panel_that_it_names(opened, trained):
    page = opened.goto((trained / "report.html").resolve().as_uri() + "#attention")
    assert visible_headings(page) == ["What queries look at"]


def test_typing_narrows_the_categories_and_escape_shows_all(page):
    page.get_by_role("tab", name="Categories").click()
    rows = page.locator("#category-table tbody tr:visible")
    assert rows.count() == 3
    page.get_by_label("Filter").first.focus()
    page.keyboard.type("STAR")
    assert rows.count() == 1
    assert rows.first.locator("th").inner_text() == "star"
    expect(page.locator("#category-filter-count")).to_have_text("1 of 3")
    page.keyboard.press("Escape")
    assert rows.count() == 3


def test_typing_narrows_the_images(page):
    page.get_by_role("tab", name="Images").click()
    page.get_by_label("Filter").last.fill("000003")
    titles = set(page.locator("#images article:visible h4").all_inner_texts())
    assert titles == {"000003.png"}


def test_titles_of_the_table_sort_its_rows(page):
    page.get_by_role("tab", name="Categories").click()
    table = page.locator("#category-table")
    for key in ("Enter", " "):
        table.get_by_role("button", name="id").focus()
        page.keyboard.press(key)
        title = table.locator("th[aria-sort]")
        ids = [int(cell) for cell in table.locator("tbody td:nth-child(2)").all_inner_texts()]
        falling = title.get_attribute("aria-sort") == "descending"
        assert ids == sorted(ids, reverse=falling)
        assert falling == (key == "Enter")
    table.get_by_role("button", name="category").click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names)


def test_a_category_can_be_chosen_for_the_curves(page):
    page.get_by_role("tab", name="Categories").click()
    charts = page.locator("#curve-drawings h4:visible")
    assert charts.all_inner_texts() == ["Masks, all categories", "Boxes, all categories"]
    choice = page.get_by_label("Category", exact=True)
    name = choice.locator("option").nth(1).inner_text()
    choice.focus()
    page.keyboard.press("ArrowDown")
    assert charts.all_inner_texts() == [f"Masks, {name}", f"Boxes, {name}"]


def test_a_picture_is_enlarged_by_the_space_bar_and_put_back_by_escape(page):
    page.get_by_role("tab", name="Images").click()
    picture = page.locator("#images img").first
    before = picture.bounding_box()
    page.locator("#images figure input").first.focus()
    page.keyboard.press("Space")
    assert picture.bounding_box()["width"] == pytest.approx(1280, abs=20)
    page.keyboard.press("Escape")
    assert picture.bounding_box() == before


@pytest.mark.parametrize("width", [360, 1280])
def test_no_panel_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    for name in TABS:
        page.get_by_role("tab", name=name).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_everything_is_on_one_page(browser: Browser, trained):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((trained / "report.html").resolve().as_uri())
    assert len(visible_headings(page)) == len(TABS)
    assert page.get_by_label("Filter").first.is_hidden()
    context.close()


def test_the_page_may_load_nothing(browser: Browser, trained):
    page = browser.new_page()
    page.goto((trained / "report.html").resolve().as_uri())
    with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        page.evaluate("fetch('https://example.org').catch(() => null)")
    page.close()


def test_names_from_a_data_set_are_text(opened, run, tmp_path):
    name = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
    categories = tuple(replace(one, name=name) for one in run.metrics.categories)
    picture = replace(run.examples[0], title=name, caption=name)
    hostile = replace(
        run,
        title=name,
        command=name,
        metrics=replace(run.metrics, categories=categories),
        examples=(picture,),
        config={name: name},
    )
    write_report(tmp_path / "report.html", hostile)
    page = opened.goto(tmp_path / "report.html")
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.locator("h1").inner_text() == name
