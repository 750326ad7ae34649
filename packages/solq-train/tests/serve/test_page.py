"""The page in a browser: an image is chosen, looked into, and never leaves a console error."""

from __future__ import annotations

import pytest


@pytest.fixture
def page(opened, server):
    """The page as it opens; it asks no other site for anything."""
    complaints = opened.complaints
    opened.page.on("request", lambda r: complaints.extend([r.url] * (server.url not in r.url)))
    page = opened.goto(server.url)
    page.get_by_text("small · blob, star, <ring>").wait_for()
    return page


def choose(page, data) -> None:
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": data})


@pytest.fixture
def looked(page, image):
    """The page with an image and all of its objects."""
    choose(page, image)
    page.get_by_text("pixels, found in").wait_for()
    page.locator("#threshold").fill("0")
    return page


def objects(page):
    return page.locator("#objects button:visible")


def drawn(page) -> str:
    """What the canvas shows, as a string."""
    return str(page.evaluate("document.getElementById('canvas').toDataURL()"))


def test_before_an_image_the_page_says_what_it_does(page):
    assert page.get_by_text("Drop an image here, paste one, or choose a file.").is_visible()
    assert page.locator("#threshold").is_disabled()
    assert page.locator("#coefficients-value").inner_text() == "16 of 16"
    assert not page.locator("#canvas").is_visible()


def test_an_image_is_drawn_with_its_objects_and_the_threshold_lowers_their_count(looked):
    assert not looked.locator("#empty").is_visible()
    assert objects(looked).count() == 15
    assert looked.locator("#count").inner_text() == "15 of 15"
    all_of_them = drawn(looked)
    scores = [float(text) for text in looked.locator("#objects .score").all_inner_texts()]
    looked.locator("#threshold").fill(f"{scores[7] + 0.01:.2f}")
    assert 0 < objects(looked).count() < 15
    assert drawn(looked) != all_of_them
    looked.locator("#threshold").fill("1")
    assert looked.get_by_text("None is that sure").is_visible()


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_an_image_may_be_dropped_or_pasted(page, image, way):
    send = """([bytes, way]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "a.png", {type: "image/png"}));
        const event = way === "drop"
            ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
            : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
        document.getElementById("stage").dispatchEvent(event);
    }"""
    page.evaluate(send, [list(image), way])
    page.get_by_text("pixels, found in").wait_for()
    assert page.locator("#canvas").is_visible()


def test_fewer_coefficients_change_the_masks_and_tell_how_much(looked):
    whole = drawn(looked)
    looked.locator("#coefficients").fill("2")
    looked.get_by_text("Masks of 2 coefficients in").wait_for()
    assert drawn(looked) != whole
    assert looked.locator("#coefficients-note").inner_text().startswith("mean IoU 0.")
    assert looked.locator("#objects .iou").first.inner_text().startswith("IoU ")
    looked.locator("#coefficients").fill("16")
    looked.locator("#coefficients-note:empty").wait_for(state="attached")
    assert drawn(looked) == whole


def test_an_object_that_is_clicked_shows_where_its_query_looked_in_each_layer(looked):
    masks = drawn(looked)
    objects(looked).first.click()
    looked.locator("#query").wait_for()
    assert looked.locator("#query-title").inner_text().startswith("Query ")
    assert looked.get_by_text("8 places").is_visible()  # 2 layers, 2 heads, 2 levels
    assert looked.locator("#legend li").count() == 2
    both = drawn(looked)
    assert both != masks
    looked.locator("#layers label").nth(1).click()
    assert looked.get_by_text("4 places").is_visible()
    first = drawn(looked)
    looked.locator("#layers label").nth(2).click()
    assert len({both, first, drawn(looked)}) == 3
    looked.get_by_text("Back to masks").click()
    assert not looked.locator("#query").is_visible()


def test_the_picture_can_be_clicked_too_and_pointing_at_a_row_shows_the_object(looked):
    plain = drawn(looked)
    objects(looked).nth(3).hover()
    assert drawn(looked) != plain
    found = looked.evaluate(
        """async () => {
        const canvas = document.getElementById("canvas").getBoundingClientRect();
        for (let y = 4; y < canvas.height; y += 8) {
          for (let x = 4; x < canvas.width; x += 8) {
            const place = {clientX: canvas.left + x, clientY: canvas.top + y};
            document.getElementById("canvas").dispatchEvent(new PointerEvent("pointermove", place));
            if (document.querySelector("#objects .pointed")) return [x, y];
          }
        }}"""
    )
    looked.locator("#canvas").click(position={"x": found[0], "y": found[1]})
    looked.locator("#query").wait_for()
    assert looked.locator("#objects [aria-pressed=true]").count() == 1


def test_everything_can_be_done_with_the_keyboard(looked):
    looked.locator("#threshold").focus()
    looked.keyboard.press("ArrowRight")
    assert looked.locator("#threshold-value").inner_text() == "0.01"
    looked.keyboard.press("Tab")
    looked.keyboard.press("ArrowLeft")
    looked.get_by_text("Masks of 15 coefficients in").wait_for()
    looked.keyboard.press("Tab")
    assert looked.locator("#objects .pointed").count() == 1
    looked.keyboard.press("ArrowDown")
    looked.keyboard.press("Enter")
    looked.locator("#query").wait_for()
    assert objects(looked).nth(1).get_attribute("aria-pressed") == "true"
    looked.locator("#layers input").first.focus()
    looked.keyboard.press("ArrowRight")
    assert looked.get_by_text("4 places").is_visible()
    looked.keyboard.press("Escape")
    assert not looked.locator("#query").is_visible()


def test_what_is_no_image_is_told_and_the_image_before_stays(looked, opened, server):
    choose(looked, b"no image")
    banner = looked.locator("#banner")
    looked.get_by_text("not a whole image file").wait_for()
    looked.locator("#banner-close").click()
    choose(looked, bytes(server.most_bytes + 1))
    looked.get_by_text("a.png: 0.2 MB; an image may have 0.2 MB.").wait_for()
    assert banner.get_attribute("role") == "alert"
    assert looked.locator("#canvas").is_visible()
    assert objects(looked).count() == 15
    # The browser itself notes the first answer's status; the second was never sent.
    assert len(opened.complaints) == 1
    assert "422" in opened.complaints.pop()


def test_an_image_that_is_no_longer_kept_is_told(looked, opened, server, image):
    for _ in range(server.inference.most_kept):
        server.predict(image)
    objects(looked).first.click()
    looked.get_by_text("no longer kept (the last 3 are); send it again").wait_for()
    assert "404" in opened.complaints.pop()
