"""On CUDA: the host never waits, graphs capture the call, any device may be the current one."""

import pytest
import torch

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
SIZES = {"dtype": torch.float32, "channels": 48, "queries": 50, "heads": 8, "points": 4}


@pytest.fixture
def arguments(form, make_arguments):
    """Arguments on the current CUDA device that require gradients."""
    return make_arguments(form, device="cuda", requires_grad=True, **SIZES)


@pytest.fixture
def leaves(arguments):
    """Those of the arguments that require gradients."""
    return [value for value in arguments.values() if getattr(value, "requires_grad", False)]


@pytest.mark.parametrize("implementation", ["operator", "definition"])
def test_the_host_never_waits_for_the_device(implementation, form, arguments, leaves, request):
    function = request.getfixturevalue(implementation)(form)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.autograd.grad(function(**arguments).sum(), leaves)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_cuda_graph_captures_forward_and_backward(form, arguments, leaves, operator):
    def step():
        output = operator(form)(**arguments)
        return output, *torch.autograd.grad(output.square().sum(), leaves)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what torch and the kernels do once is not to be captured
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        arguments["value"].mul_(-2)
    graph.replay()
    torch.testing.assert_close(captured, step())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_tensors_on_another_than_the_current_device_are_computed_there(
    form, arguments, operator, run
):
    expected, expected_gradients = run(operator(form), arguments)
    elsewhere = {
        name: value if name == "points_per_level" else value.detach().to("cuda:1")
        for name, value in arguments.items()
    }
    with torch.cuda.device(0):
        output, gradients = run(operator(form), elsewhere)
    assert output.device == torch.device("cuda:1")
    torch.testing.assert_close(output.cpu(), expected.cpu())
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient.cpu(), expected_gradients[name].cpu())
