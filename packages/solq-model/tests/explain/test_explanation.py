"""An explanation as a record: names, scores, strides, numbers, files."""

import json

import pytest
from PIL import Image


@pytest.fixture
def explanation(make_explanation):
    return make_explanation()


def test_label_name_and_score_are_those_of_the_category_after_the_last_layer(explanation):
    assert (explanation.label, explanation.name, explanation.score) == (9, "dog", 0.875)


def test_the_best_category_of_each_layer_tells_how_the_class_evolves(explanation):
    assert [(category.name, score) for category, score in map(explanation.best, (0, 1))] == [
        ("cat", 0.5),
        ("dog", 0.875),
    ]


def test_strides_are_powers_of_two_also_where_cells_reach_over_the_border(
    explanation, make_explanation
):
    assert explanation.strides == (8, 16)
    odd = make_explanation(input_size=(1, 100), level_sizes=((1, 13), (1, 7), (1, 4), (1, 2)))
    assert odd.strides == (8, 16, 32, 64)


def test_json_has_the_numbers_by_their_names(explanation):
    values = json.loads(json.dumps(explanation.to_json()))
    assert values["name"] == "dog"
    assert values["weights"] == explanation.weights.tolist()
    assert values["locations"] == explanation.locations.tolist()
    assert values["references"] == [[100, 60], [40, 20, 160, 100]]
    assert values["image_size"] == [120, 200]
    assert values["level_sizes"] == [[15, 25], [8, 13]]


def test_saving_writes_the_plot(explanation, tmp_path):
    explanation.save(tmp_path / "out.png", layer=1, style="heat")
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.convert("RGB") == explanation.plot(layer=1, style="heat")


def test_a_file_of_no_image_format_is_refused(explanation, tmp_path):
    with pytest.raises(ValueError, match="ending must be that of an image format"):
        explanation.save(tmp_path / "out.txt")
    assert list(tmp_path.iterdir()) == []
