"""Dropout: torch's results, with a mask of one byte an element."""

import torch

from solq_model.dropout import Dropout


def test_elements_are_dropped_at_the_rate_and_the_others_scaled():
    torch.manual_seed(0)
    tokens = torch.ones(100_000, requires_grad=True)
    output = Dropout(0.25)(tokens)
    output.sum().backward()
    assert abs(float((output == 0).float().mean()) - 0.25) < 0.01
    torch.testing.assert_close(output[output != 0].unique(), torch.tensor([1 / 0.75]))
    assert torch.equal(tokens.grad, output)


def test_nothing_is_dropped_in_evaluation_or_at_rate_zero():
    tokens = torch.randn(7)
    assert Dropout(0.5).eval()(tokens) is tokens
    assert Dropout(0.0)(tokens) is tokens


def test_a_byte_an_element_is_kept():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        Dropout(0.5)(torch.randn(64, requires_grad=True))
    assert sum(tensor.nbytes for tensor in kept) == 64
