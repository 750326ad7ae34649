"""The heads: MLPs, one per layer or one for all, and mask vectors."""

import pytest
import torch
from torch import nn

from solq_model.heads import MLP, LayerHeads, VectorHead


def vector_head(*, whitened):
    torch.manual_seed(0)
    return VectorHead(8, 16, 4, whitened=whitened)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_an_mlp_is_linear_layers_with_relu_between_them(num_layers):
    torch.manual_seed(0)
    mlp = MLP(8, 16, 4, num_layers)
    linears = [layer for layer in mlp.layers if isinstance(layer, nn.Linear)]
    assert len(linears) == num_layers
    tokens = torch.randn(2, 3, 8)
    expected = tokens
    for index, linear in enumerate(linears):
        expected = linear(expected if index == 0 else expected.relu())
    assert torch.equal(mlp(tokens), expected)
    assert (mlp(tokens) < 0).any(), "no ReLU after the last layer"


def test_each_layer_has_its_own_head_or_all_share_one():
    own = LayerHeads([nn.Linear(1, 1), nn.Linear(1, 1)])
    assert own.at(0) is not own.at(1)
    shared = LayerHeads([nn.Linear(1, 1)])
    assert shared.at(0) is shared.at(5)


def test_plain_mask_vectors_are_what_the_mlp_says():
    head = vector_head(whitened=False)
    queries = torch.randn(1, 3, 8)
    assert torch.equal(head(queries), head.mlp(queries))
    assert "mean" not in head.state_dict()


def test_a_zero_output_is_the_mean_mask_and_one_is_a_deviation_more():
    head = vector_head(whitened=True)
    mean, deviation = torch.tensor([10.0, 0, -1, 2]), torch.tensor([5.0, 4, 3, 2])
    head.set_statistics(mean, deviation)
    with torch.no_grad():
        head.mlp.layers[-1].weight.zero_()
        head.mlp.layers[-1].bias.zero_()
    queries = torch.randn(1, 3, 8)
    assert torch.equal(head(queries), mean.expand(1, 3, -1))
    nn.init.ones_(head.mlp.layers[-1].bias)
    assert torch.equal(head(queries), (mean + deviation).expand(1, 3, -1))


def test_the_statistics_are_saved_with_the_weights():
    head, other = vector_head(whitened=True), vector_head(whitened=True)
    head.set_statistics(torch.arange(4.0), torch.full((4,), 2.0))
    other.load_state_dict(head.state_dict())
    assert other.mean.tolist() == [0, 1, 2, 3]
    assert other.deviation.tolist() == [2, 2, 2, 2]
    assert not any(name in ("mean", "deviation") for name, _ in head.named_parameters())


@pytest.mark.parametrize(
    ("mean", "deviation", "message"),
    [
        (torch.zeros(3), torch.ones(3), r"must be \(4,\), got \(3,\) and \(3,\)"),
        (torch.zeros(4), torch.zeros(4), "mean must be finite and deviation positive"),
        (torch.zeros(4), torch.tensor([1, 1, 1, float("nan")]), "deviation positive and finite"),
        (torch.tensor([0, 0, 0, float("inf")]), torch.ones(4), "mean must be finite"),
    ],
)
def test_statistics_that_are_none_are_refused(mean, deviation, message):
    with pytest.raises(ValueError, match=message):
        vector_head(whitened=True).set_statistics(mean, deviation)


def test_statistics_need_a_head_that_is_whitened():
    with pytest.raises(ValueError, match=r"statistics need a model with .*whitened_vectors"):
        vector_head(whitened=False).set_statistics(torch.zeros(4), torch.ones(4))
