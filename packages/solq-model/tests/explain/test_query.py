"""What an explanation says of a query is what the network did with it."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from solq_model import Categories, Category
from solq_model.preprocess import Preprocessing

HEIGHT, WIDTH = 40, 64
VARIANTS = {
    "points": {"box_refinement": False},
    "refined": {},
    "agnostic": {"two_stage": True},
    "mixed": {"two_stage": True, "query_selection": "mixed"},
    "one level": {"num_feature_levels": 1},
    "five levels, odd points": {"num_feature_levels": 5, "decoder_points": 3, "num_heads": 2},
    "swin": {"backbone": "swin_t", "decoder_layers": 1},
}


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def make_small(make_model):
    """A small model for small images."""

    def make(**changes):
        model = make_model(**changes)
        model.preprocessing = Preprocessing(short_side=32, max_size=64)
        return model

    return make


@pytest.fixture
def model(make_small):
    return make_small()


class Calls:
    """Inputs and outputs of the decoder's deformable attention, from hooks of the test's own."""

    def __init__(self, model):
        self.inputs, self.values, self.outputs, self.sizes = [], [], [], []
        for layer in model.decoder.layers:
            attention = layer.cross_attention
            attention.register_forward_hook(self._output)
            attention.value_projection.register_forward_hook(self._value)

    def _output(self, _, inputs, output):
        self.sizes.append(inputs[2].level_sizes)
        self.outputs.append(output[0])

    def _value(self, _module, _inputs, output):
        self.values.append(output[0])


def read_at(values, sizes, locations, weights):
    """Weighted sums of values read bilinearly at places in 0..1: [heads * channels]."""
    heads = len(locations)
    values = values.unflatten(-1, (heads, -1)).permute(1, 2, 0)  # [heads, channels, tokens]
    start, total = 0, 0.0
    for level, (height, width) in enumerate(sizes):
        part = values[..., start : start + height * width].unflatten(-1, (height, width))
        start += height * width
        grid = 2 * locations[:, None, level] - 1
        read = F.grid_sample(part, grid, align_corners=False)[:, :, 0]  # [heads, channels, points]
        total = total + (read * weights[:, None, level]).sum(-1)
    return total.flatten()


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_values_read_at_the_places_with_the_weights_are_what_attention_gives(
    make_small, pixels, changes
):
    model = make_small(**changes).double()
    calls = Calls(model)
    query = 5
    explanation = model.explain(pixels, query=query)
    config = model.config
    shape = (config.decoder_layers, config.num_heads, config.num_feature_levels)
    assert explanation.weights.shape == (*shape, config.decoder_points)
    torch.testing.assert_close(
        explanation.weights.sum((-1, -2)), torch.ones(shape[:2], dtype=torch.float64)
    )
    shares = explanation.locations / torch.tensor([WIDTH, HEIGHT])
    for index, layer in enumerate(model.decoder.layers):
        gathered = read_at(
            calls.values[index], calls.sizes[index], shares[index], explanation.weights[index]
        )
        with torch.inference_mode():
            output = layer.cross_attention.output_projection(gathered)
        torch.testing.assert_close(output, calls.outputs[index][query], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("changes", [{}, {"two_stage": True}], ids=["refined", "two stages"])
def test_boxes_scores_and_references_are_those_of_each_layer(make_small, pixels, changes):
    model = make_small(**changes)
    explanation = model.explain(pixels, query=2)
    with torch.no_grad():
        image = model.preprocessing(explanation.image)
        predictions = model([image])
    layers = [*predictions.auxiliary, predictions]
    scale = torch.tensor([WIDTH, HEIGHT])
    for index, layer in enumerate(layers):
        cx_cy, size = layer.boxes[0, 2, :2], layer.boxes[0, 2, 2:]
        box = torch.cat([(cx_cy - size / 2) * scale, (cx_cy + size / 2) * scale])
        torch.testing.assert_close(explanation.boxes[index], box)
        # Exact: the hooks leave the network on its own path.
        assert torch.equal(explanation.class_scores[index], layer.logits[0, 2].sigmoid())
    assert len(explanation.references[0]) == (4 if changes else 2)
    assert torch.equal(explanation.references[1], explanation.boxes[0])
    assert explanation.input_size == tuple(image.shape[1:])


def test_without_refinement_every_layer_starts_from_the_same_point(make_small, pixels):
    explanation = make_small(box_refinement=False).explain(pixels, query=0)
    first, second = explanation.references
    assert first.shape == (2,)
    assert torch.equal(first, second)


def test_an_instance_is_that_of_predict(model, pixels):
    result = model.predict(pixels, threshold=0.0, top_k=24)
    assert len(result) == 24
    for index in range(len(result)):
        explanation = model.explain(pixels, instance=index, threshold=0.0)
        assert explanation.category == result.categories[index]
        assert explanation.score == pytest.approx(result.scores[index].item(), abs=1e-6)
        torch.testing.assert_close(explanation.boxes[-1], result.boxes[index])
        assert torch.equal(explanation.mask, result.masks[index])


def test_without_query_and_instance_it_is_the_best_instance(model, pixels):
    best = model.explain(pixels, threshold=0.0)
    assert best.score == model.predict(pixels, threshold=0.0).scores[0].item()


def test_a_query_is_explained_as_the_category_it_is_most_sure_of(model, pixels):
    model.categories = Categories((Category(5, "cat", 1), Category(9, "dog", 2)))
    for query in range(model.config.num_queries):
        explanation = model.explain(pixels, query=query)
        scores = explanation.class_scores[-1]
        assert explanation.category.slot == 1 + int(scores[1:].argmax())
        assert explanation.score == scores[1:].max()
        assert explanation.query == query


def test_slots_without_a_category_do_not_count_as_instances(model, pixels):
    model.categories = Categories((Category(5, "cat", 1),))
    result = model.predict(pixels, threshold=0.0)
    assert len(result) == model.config.num_queries
    last = model.explain(pixels, instance=len(result) - 1, threshold=0.0)
    assert last.score == pytest.approx(result.scores[-1].item())
    with pytest.raises(ValueError, match=r"instances 0\.\.7 with"):
        model.explain(pixels, instance=len(result), threshold=0.0)


def test_a_detector_is_explained_without_a_mask(make_small, pixels):
    explanation = make_small(mask_head="none").explain(pixels, query=0)
    assert explanation.mask is None
    assert explanation.boxes.shape == (2, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_of_weights(make_small, pixels, dtype):
    model = make_small()
    expected = model.explain(pixels, query=1)
    explanation = model.to(dtype).explain(pixels, query=1)
    assert explanation.weights.dtype == torch.promote_types(dtype, torch.float32)
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(
        explanation.weights.float(), expected.weights, atol=tolerance, rtol=tolerance
    )
    shares = (explanation.locations - expected.locations) / torch.tensor([WIDTH, HEIGHT])
    assert shares.abs().max() < tolerance


def test_the_model_stays_as_it_was(make_small, pixels):
    model = make_small(backbone_norm="batch", dropout=0.5)
    model.train()
    model.backbone.eval()
    modes = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parameter = next(model.decoder.parameters())
    parameter.grad = torch.ones_like(parameter)
    model.explain(pixels, query=0)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert parameter.grad.eq(1).all()
    assert not any(module._forward_hooks for module in model.modules())


def test_after_an_error_the_model_is_as_it_was_too(model, pixels):
    model.train()
    with pytest.raises(ValueError, match="query"):
        model.explain(pixels, query=99)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_explaining_does_not_change_predictions(model, pixels):
    before = model.predict(pixels, threshold=0.0)
    model.explain(pixels, query=0)
    after = model.predict(pixels, threshold=0.0)
    assert torch.equal(before.scores, after.scores)
    assert torch.equal(before.boxes, after.boxes)


@pytest.mark.parametrize("query", [-1, 8])
def test_a_query_that_is_not_there_is_refused(model, pixels, query):
    with pytest.raises(ValueError, match=rf"query must be in 0\.\.7, got {query}"):
        model.explain(pixels, query=query)


def test_where_no_score_reaches_the_threshold_the_best_one_is_named(model, pixels):
    best = model.predict(pixels, threshold=0.0).scores[0].item()
    message = rf"instance 0: no instance .* at least 0\.99; the best of all scores is {best:.3f}"
    with pytest.raises(ValueError, match=message):
        model.explain(pixels, threshold=0.99)


def test_an_instance_that_is_not_there_is_refused(model, pixels):
    with pytest.raises(ValueError, match=r"instance 24: instances 0\.\.23 with a score"):
        model.explain(pixels, instance=24, threshold=0.0)
    with pytest.raises(ValueError, match="instance -1"):
        model.explain(pixels, instance=-1, threshold=0.0)


def test_a_query_and_an_instance_at_once_are_refused(model, pixels):
    with pytest.raises(ValueError, match="query=1 and instance=0"):
        model.explain(pixels, query=1, instance=0)


def test_a_threshold_out_of_range_is_refused(model, pixels):
    with pytest.raises(ValueError, match=r"threshold must be in 0\.\.1, got 1\.5"):
        model.explain(pixels, threshold=1.5)
