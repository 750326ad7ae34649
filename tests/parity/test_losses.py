"""Losses, matches and gradients equal those of the published code."""

import pytest

from solq_model.published.names import official_names
from solq_train.criterion import Criterion, LossConfig, encode_targets

RELATIVE_TOLERANCE = 1e-4

# Gradients of bilinear sampling jump where a location crosses the centre of a pixel, so one that
# lies there within rounding moves the sum. The published norm of this parameter differs by 3.1e-4
# from our network in float64, which ours in float32 meets within 2.2e-5.
JUMPING_GRADIENTS = {
    "r50": {},
    "swin_t": {"transformer.reference_points.bias": 1e-3},
    "sqr_r50": {},
}


@pytest.fixture
def losses(model, published):
    targets = encode_targets(published.targets(), model.codec)
    return Criterion(LossConfig(), model.codec)(model(published.images()), targets)


def test_every_loss_term_equals_the_published_one(losses, published):
    ours = {name: value.item() for name, value in (losses.terms | losses.diagnostics).items()}
    assert ours == pytest.approx(published.numbers["losses"], rel=RELATIVE_TOLERANCE)
    assert losses.total.item() == pytest.approx(
        published.numbers["total_loss"], rel=RELATIVE_TOLERANCE
    )


def test_matches_equal_the_published_ones(losses, published):
    matches = losses.matches
    offset = 0
    for image, (queries, objects) in enumerate(published.numbers["matches"]):
        own = matches.images == image
        assert matches.queries[own].tolist() == queries
        assert (matches.objects[own] - offset).tolist() == objects
        offset += len(objects)


def test_the_gradient_norm_of_every_parameter_equals_the_published_one(model, losses, published):
    losses.total.backward()
    expected = published.numbers["grad_norms"]
    ours = {
        name: parameter.grad.double().norm().item()
        for our_name, parameter in model.named_parameters()
        if parameter.grad is not None
        for name in official_names(our_name, model.config)
        if name in expected
    }
    for name, tolerance in JUMPING_GRADIENTS[published.name].items():
        assert ours.pop(name) == pytest.approx(expected[name], rel=tolerance)
        expected = {key: norm for key, norm in expected.items() if key != name}
    assert ours == pytest.approx(expected, rel=RELATIVE_TOLERANCE)
