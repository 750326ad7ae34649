"""Errors of output and gradients against float64, on the same inputs."""

import torch
from attention_cases import Arguments, Direction, Inputs, compose
from attention_peers import Attention, grid_sample_attention
from torch import Tensor

# Evenly chosen among all: float64 takes long, and shows the same on a part of the queries.
QUERIES = 256
# A location's gradient jumps where its point crosses the line between two pixels' centres. Nearer
# to one than this, in cells, rounding alone decides on which side the point lies.
CLEARANCE = 1e-3


def relative_errors(
    function: Attention, fused: bool, inputs: Inputs
) -> dict[Direction, dict[str, float]]:
    """Of each result, the L2 norm of its error, relative to the norm of the exact one."""
    queries = inputs.grad_output.shape[1]
    chosen = torch.arange(0, queries, max(1, queries // QUERIES), device=inputs.grad_output.device)
    arguments = of_queries(inputs.arguments(fused), chosen)
    grad_output = inputs.grad_output[:, chosen]
    exact_arguments = arguments.changed(in_float64)
    results = output_and_gradients(function, arguments, grad_output)
    exact = output_and_gradients(exact_attention, exact_arguments, grad_output.double())
    clear = clear_of_lines(exact_arguments)
    for gradients in (results, exact):
        gradients["grad_coordinates"] = gradients["grad_coordinates"] * clear
    errors = {name: relative_error(results[name], exact[name]) for name in exact}
    return {"forward": {"output": errors.pop("output")}, "backward": errors}


def of_queries(arguments: Arguments, chosen: Tensor) -> Arguments:
    """The arguments of some of the queries."""
    references = arguments.reference_points
    part = arguments._replace(
        reference_points=None if references is None else references[:, chosen],
        coordinates=arguments.coordinates[:, chosen],
        weights=arguments.weights[:, chosen],
    )
    return part.changed(lambda tensor: tensor)


def in_float64(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def output_and_gradients(
    function: Attention, arguments: Arguments, grad_output: Tensor
) -> dict[str, Tensor]:
    output = function(*arguments.call())
    gradients = torch.autograd.grad(output, arguments.learned(), grad_output)
    names = ("grad_value", "grad_coordinates", "grad_weights")
    return {"output": output.detach(), **dict(zip(names, gradients, strict=True))}


def exact_attention(value: Tensor, shapes: Tensor, starts: Tensor, *others: Tensor) -> Tensor:
    """Either form by the grid_sample formulation, which shares no line with what is measured."""
    sampled = compose(shapes, *others) if len(others) == 3 else others
    return grid_sample_attention(value, shapes, starts, *sampled)


def clear_of_lines(arguments: Arguments) -> Tensor:
    """Whether each point is clear of the lines where gradients jump: [..., levels, points, 1]."""
    _, shapes, _, references, coordinates, weights = arguments
    if references is not None:
        coordinates, _ = compose(shapes, references, coordinates, weights)
    positions = coordinates.detach() * shapes.flip(1)[:, None] - 0.5
    return ((positions - positions.round()).abs() > CLEARANCE).all(-1, keepdim=True)


def relative_error(result: Tensor, exact: Tensor) -> float:
    return float((result.double() - exact).norm() / exact.norm())
