"""The picture as a whole."""

import numpy as np
import pytest
import torch
from PIL import Image

from solq_model.explain.picture import WIDTH


@pytest.fixture
def explanation(make_explanation):
    return make_explanation()


def test_there_is_a_panel_for_each_layer_one_of_them_or_all_in_one(explanation):
    each, one, together = (explanation.plot(layer) for layer in (None, 1, "all"))
    assert each.width == one.width == together.width == WIDTH
    assert one.size == together.size
    assert one.height > each.height  # two panels instead of three are larger
    assert one != explanation.plot(0)
    assert one != together


def test_many_layers_take_more_than_one_row(make_explanation, explanation):
    six = make_explanation(
        locations=explanation.locations.repeat(3, 1, 1, 1, 1),
        weights=explanation.weights.repeat(3, 1, 1, 1),
        references=explanation.references * 3,
        boxes=explanation.boxes.repeat(3, 1),
        class_scores=explanation.class_scores.repeat(3, 1),
    )
    three = make_explanation(
        locations=six.locations[:3],
        weights=six.weights[:3],
        references=six.references[:3],
        boxes=six.boxes[:3],
        class_scores=six.class_scores[:3],
    )
    assert six.plot().width == WIDTH
    assert six.plot().height > 1.5 * three.plot().height


@pytest.mark.parametrize("style", ["points", "heat"])
def test_both_styles_show_only_what_is_asked_for(make_explanation, explanation, style):
    weights = torch.stack([explanation.weights[:, 0], explanation.weights[:, 0].flip(-1)], 1)
    two_heads = make_explanation(
        weights=weights, locations=explanation.locations.repeat(1, 2, 1, 1, 1)
    )
    whole = two_heads.plot(style=style)
    parts = [two_heads.plot(head=0, style=style), two_heads.plot(head=1, style=style)]
    assert whole not in parts
    assert parts[0] != parts[1]
    assert two_heads.plot(level=0, style=style) not in (whole, *parts)


@pytest.mark.parametrize(
    "size", [(1, 300), (300, 1), (1, 1), (32, 48), (700, 60), (2160, 3840)], ids=str
)
def test_images_of_every_size_and_form_give_pictures_of_one_width(make_explanation, size):
    height, width = size
    scale = torch.tensor([width / 200, height / 120])
    plain = make_explanation()
    explanation = make_explanation(
        image=Image.new("RGB", (width, height), (10, 120, 10)),
        locations=plain.locations * scale,
        boxes=plain.boxes * scale.repeat(2),
        references=tuple(r * scale.repeat(len(r) // 2) for r in plain.references),
        mask=torch.ones(size, dtype=torch.bool),
    )
    for style in ("points", "heat"):
        picture = explanation.plot(style=style)
        assert picture.width == WIDTH
        assert 200 < picture.height < 800


def test_a_small_object_is_shown_large_and_framed_in_the_image(make_explanation):
    plain = make_explanation()

    def shrink(places):
        return places * 0.1 + 5.0

    mask = torch.zeros(120, 200, dtype=torch.bool)
    mask[8:14, 10:20] = True
    explanation = make_explanation(
        locations=shrink(plain.locations),
        boxes=shrink(plain.boxes),
        references=tuple(map(shrink, plain.references)),
        mask=mask,
    )
    picture = np.asarray(explanation.plot(1)).astype(int)
    panel = picture[:, WIDTH // 2 :]
    whites = (panel.min(-1) > 240).any(0).nonzero()[0]
    assert whites.max() - whites.min() > 0.4 * panel.shape[1]  # the box of 10 pixels


def test_nothing_is_read_where_no_place_is(make_explanation):
    far = make_explanation(locations=make_explanation().locations + 10_000)
    for style in ("points", "heat"):
        assert far.plot(style=style).width == WIDTH


def test_a_detector_has_no_mask_to_draw(make_explanation):
    assert make_explanation(mask=None).plot() != make_explanation().plot()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": 2}, r"layer must be in 0\.\.1 or \"all\", got 2"),
        ({"layer": -1}, r"layer must be in 0\.\.1"),
        ({"layer": "last"}, "got 'last'"),
        ({"head": 1}, r"head must be in 0\.\.0, got 1"),
        ({"level": 2}, r"level must be in 0\.\.1, got 2"),
        ({"style": "arrows"}, "style must be one of points, heat, got 'arrows'"),
    ],
)
def test_what_is_not_there_is_refused(explanation, arguments, message):
    with pytest.raises(ValueError, match=message):
        explanation.plot(**arguments)
