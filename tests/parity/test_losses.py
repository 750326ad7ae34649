"""Losses, matches and gradients equal those of the published code."""

import pytest

from solq_maskcodec import DCTMaskCodec
from solq_model.official import official_names
from solq_train.criterion import Criterion, LossConfig, encode_targets

RELATIVE_TOLERANCE = 1e-4


@pytest.fixture
def losses(model, r50):
    codec = DCTMaskCodec()
    targets = encode_targets(r50.targets(), codec)
    return Criterion(LossConfig(), codec)(model(r50.images()), targets)


def test_every_loss_term_equals_the_published_one(losses, r50):
    ours = {name: value.item() for name, value in (losses.terms | losses.diagnostics).items()}
    assert ours == pytest.approx(r50.numbers["losses"], rel=RELATIVE_TOLERANCE)
    assert losses.total.item() == pytest.approx(r50.numbers["total_loss"], rel=RELATIVE_TOLERANCE)


def test_matches_equal_the_published_ones(losses, r50):
    matches = losses.matches
    offset = 0
    for image, (queries, objects) in enumerate(r50.numbers["matches"]):
        own = matches.images == image
        assert matches.queries[own].tolist() == queries
        assert (matches.objects[own] - offset).tolist() == objects
        offset += len(objects)


def test_the_gradient_norm_of_every_parameter_equals_the_published_one(model, losses, r50):
    losses.total.backward()
    published = r50.numbers["grad_norms"]
    ours = {
        name: parameter.grad.double().norm().item()
        for our_name, parameter in model.named_parameters()
        if parameter.grad is not None
        for name in official_names(our_name, model.config)
        if name in published
    }
    assert ours == pytest.approx(published, rel=RELATIVE_TOLERANCE)
