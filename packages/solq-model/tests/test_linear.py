"""Linear layers: torch's numbers, gradients and counts, whichever library multiplies."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from solq_model import linear
from solq_model.linear import Linear

needs_onednn = pytest.mark.skipif(not linear.ONEDNN, reason="this torch has no oneDNN")


def layers(in_dim, out_dim, *, bias=True, dtype=torch.float32):
    """Ours, and torch's with the same parameters."""
    torch.manual_seed(0)
    ours = Linear(in_dim, out_dim, bias=bias, dtype=dtype)
    torchs = nn.Linear(in_dim, out_dim, bias=bias, dtype=dtype)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("in_dim", "out_dim"), [(24, 40), (40, 24), (1, 3)])
@pytest.mark.parametrize("shape", [(), (5,), (2, 7), (2, 0), (2, 3, 4)])
def test_results_and_gradients_are_those_of_torch(shape, in_dim, out_dim, bias, dtype):
    tokens = torch.randn(*shape, in_dim).to(dtype).requires_grad_()
    results = []
    for layer in layers(in_dim, out_dim, bias=bias, dtype=dtype):
        output = layer(tokens)
        wanted = (tokens, *layer.parameters())
        results.append((output, *torch.autograd.grad(output.square().sum(), wanted)))
    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs)


def test_tokens_need_not_be_contiguous():
    ours, torchs = layers(24, 8)
    tokens = torch.randn(3, 24, 5).transpose(1, 2)
    torch.testing.assert_close(ours(tokens), torchs(tokens))


def test_only_what_is_trained_gets_a_gradient():
    layer, _ = layers(24, 8)
    layer.weight.requires_grad_(requires_grad=False)
    layer(torch.randn(3, 24)).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad.tolist() == [3.0] * 8


def test_the_result_may_be_changed_in_place():
    ours, torchs = layers(24, 8)
    tokens = torch.randn(2, 3, 24)
    for layer in (ours, torchs):
        layer(tokens).relu_().sum().backward()
    torch.testing.assert_close(ours.weight.grad, torchs.weight.grad)


def test_autocast_reaches_it():
    layer, _ = layers(24, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(3, 24)).dtype == torch.bfloat16


def test_torchs_counter_counts_its_operations():
    counts = []
    for layer in layers(24, 40):
        with FlopCounterMode(display=False) as counter:
            layer(torch.randn(7, 24, requires_grad=True)).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 3 * 2 * 7 * 24 * 40


@needs_onednn
def test_float32_on_a_cpu_is_multiplied_by_onednn():
    layer, _ = layers(24, 8)
    with torch.profiler.profile() as profile:
        layer(torch.randn(3, 24))
    assert "mkldnn::_linear_pointwise" in {event.key for event in profile.key_averages()}


def test_an_exported_graph_has_the_plain_layer():
    layer, _ = layers(24, 8)
    graph = torch.export.export(layer, (torch.randn(3, 24),)).graph
    names = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert names == ["aten.linear.default"]
