"""The definition: equal to grid_sample, worked by hand, safe at its edges, right gradients."""

import math

import pytest
import torch

from solq_ops import reference
from solq_ops.reference import ms_deform_attn, ms_deform_attn_fused, sampling_locations

LEVELS = {
    "one level": ((5, 9),),
    "ragged levels": ((7, 5), (1, 1), (3, 8)),
    "one pixel": ((1, 1),),
    "a row and a column": ((1, 6), (6, 1)),
}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}


def one_point(pixels, location, weight=1.0):
    """Arguments with which one query reads one point of a single-channel image."""
    image = torch.tensor(pixels, dtype=torch.float64)
    return {
        "value": image.view(1, -1, 1, 1),
        "spatial_shapes": torch.tensor([image.shape]),
        "level_start_index": torch.tensor([0]),
        "sampling_locations": torch.tensor(location, dtype=torch.float64).view(1, 1, 1, 1, 2),
        "attention_weights": torch.full((1, 1, 1, 1), weight, dtype=torch.float64),
        "points_per_level": [1],
    }


@pytest.mark.parametrize("shapes", LEVELS.values(), ids=LEVELS.keys())
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_outputs_and_gradients_equal_grid_sample(
    shapes, dtype, make_arguments, run, grid_sample_oracle, relative_error
):
    points = tuple(range(1, len(shapes) + 1))
    arguments = make_arguments(shapes=shapes, points=points, dtype=dtype)
    output, gradients = run(ms_deform_attn, arguments)
    expected, expected_gradients = run(grid_sample_oracle, arguments)
    assert relative_error(output, expected.double()) < TOLERANCE[dtype]
    for name, gradient in gradients.items():
        error = relative_error(gradient, expected_gradients[name].double())
        assert error < TOLERANCE[dtype], name


@pytest.mark.parametrize("shape", [(4, 8), (1, 1)], ids=str)
def test_points_on_borders_and_pixel_centres_equal_grid_sample(
    shape, make_arguments, grid_sample_oracle
):
    # Steps of half a pixel in powers of two: both formulations meet borders and centres exactly.
    marks = torch.arange(-2, 19, dtype=torch.float64) / 16
    grid = torch.cartesian_prod(marks, marks)
    arguments = make_arguments(shapes=(shape,), batch=1, queries=len(grid), heads=1, points=1)
    arguments["sampling_locations"] = grid.view(1, -1, 1, 1, 2)
    torch.testing.assert_close(
        ms_deform_attn(**arguments), grid_sample_oracle(**arguments), rtol=0, atol=1e-15
    )


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ((0.25, 0.25), 10.0),  # the centre of a pixel
        ((0.5, 0.25), 15.0),  # halfway between two
        ((0.5, 0.5), 25.0),  # the mean of all four
        ((0.375, 0.25), 12.5),  # a quarter of the way
        ((0.0, 0.25), 5.0),  # on the border: half a pixel, half zeros
        ((0.0, 0.0), 2.5),  # at the corner: a quarter
        ((-0.25, 0.25), 0.0),  # one pixel away from the first centre
        ((1.25, 1.25), 0.0),
    ],
)
def test_hand_worked_numbers(location, expected):
    arguments = one_point([[10.0, 20.0], [30.0, 40.0]], location)
    assert ms_deform_attn(**arguments).item() == expected


def test_weights_are_used_as_they_are():
    assert ms_deform_attn(**one_point([[10.0, 20.0]], (0.5, 0.5), weight=-3.0)).item() == -45.0


def test_heads_follow_each_other_in_the_output(make_arguments):
    arguments = make_arguments(heads=3, channels=4)
    by_head = ("value", "sampling_locations", "attention_weights")
    second = {name: arguments[name][:, :, 1:2] for name in by_head}
    torch.testing.assert_close(
        ms_deform_attn(**arguments)[..., 4:8], ms_deform_attn(**arguments | second)
    )


def test_samples_follow_each_other_level_after_level(make_arguments):
    arguments = make_arguments(points=(1, 3, 2))
    of_level = arguments["attention_weights"].split([1, 3, 2], -1)
    parts = []
    for level in range(3):
        weights = [w if i == level else torch.zeros_like(w) for i, w in enumerate(of_level)]
        parts.append(ms_deform_attn(**arguments | {"attention_weights": torch.cat(weights, -1)}))
    torch.testing.assert_close(sum(parts), ms_deform_attn(**arguments))


@pytest.mark.parametrize(
    "coordinate", [math.nan, math.inf, -math.inf, 1e30, -1e30, 3e9, 2.0, -1.0], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_points_far_outside_or_not_finite_contribute_nothing_and_get_no_gradient(
    coordinate, dtype, make_arguments, run
):
    arguments = make_arguments(shapes=((4, 6), (2, 3)), points=2, dtype=dtype)
    first = [0, 2]  # of each level
    arguments["sampling_locations"][:, :, :, first, 0] = coordinate
    arguments["sampling_locations"][0, :, :, first, 1] = coordinate
    without = arguments | {
        "sampling_locations": arguments["sampling_locations"][..., [1, 3], :],
        "attention_weights": arguments["attention_weights"][..., [1, 3]],
        "points_per_level": [1, 1],
    }
    output, far = run(ms_deform_attn, arguments)
    expected, near = run(ms_deform_attn, without)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(far["value"], near["value"])
    for name in ("sampling_locations", "attention_weights"):
        assert far[name][:, :, :, first].count_nonzero() == 0
        torch.testing.assert_close(far[name][:, :, :, [1, 3]], near[name])


def test_gradients_pass_gradcheck(form, definition, make_arguments):
    sizes = {"queries": 3, "heads": 2, "channels": 2, "points": (1, 2, 2), "requires_grad": True}
    *tensors, points_per_level = make_arguments(form, **sizes).values()
    assert torch.autograd.gradcheck(
        lambda *inputs: definition(form)(*inputs, points_per_level), tensors
    )


@pytest.mark.parametrize("empty", ["batch", "queries"])
def test_no_batch_or_no_queries_gives_an_empty_output_and_zero_gradients(
    empty, form, definition, make_arguments, run
):
    output, gradients = run(definition(form), make_arguments(form, **{empty: 0}))
    assert output.shape == ((0, 6, 12) if empty == "batch" else (2, 0, 12))
    assert all(gradient.count_nonzero() == 0 for gradient in gradients.values())


def test_offsets_from_a_point_count_in_cells_of_each_level():
    locations = sampling_locations(
        torch.tensor([[[[0.5, 0.25], [0.5, 0.5]]]]),
        torch.tensor([[2, 4], [10, 5]]),
        torch.tensor([[[[[1.0, -1.0], [0.0, 2.0], [1.0, 1.0]]]]]),
        [2, 1],
    )
    expected = torch.tensor([[0.5 + 1 / 4, 0.25 - 1 / 2], [0.5, 0.25 + 2 / 2], [0.7, 0.6]])
    torch.testing.assert_close(locations.view(3, 2), expected)


def test_offsets_from_a_box_count_in_half_boxes_divided_by_the_levels_points():
    locations = sampling_locations(
        torch.tensor([[[[0.5, 0.25, 0.4, 0.2], [0.5, 0.5, 1.0, 1.0]]]]),
        torch.tensor([[2, 4], [10, 5]]),
        torch.tensor([[[[[2.0, -1.0], [0.0, 2.0], [1.0, -1.0]]]]]),
        [2, 1],
    )
    expected = torch.tensor([[0.7, 0.2], [0.5, 0.35], [1.0, 0.0]])
    torch.testing.assert_close(locations.view(3, 2), expected)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("size", [2, 4])
def test_what_is_not_finite_has_no_location_and_gets_no_gradient(number, size):
    references = torch.rand(1, 2, 1, size)
    offsets = torch.rand(1, 2, 3, 1, 2)
    references[0, 0, 0, -1] = number
    offsets[0, 1, 0, 0, 0] = number
    references.requires_grad_()
    offsets.requires_grad_()
    locations = sampling_locations(references, torch.tensor([[3, 4]]), offsets, [1])
    assert locations[0, 0].isnan().all()
    assert locations[0, 1, 0].isnan().all()
    assert locations[0, 1, 1:].isfinite().all()
    locations.nan_to_num().sum().backward()
    for gradient in (references.grad, offsets.grad):
        assert gradient.isfinite().all()
        assert gradient[0, 0].count_nonzero() == 0
    assert offsets.grad[0, 1, 0].count_nonzero() == 0


@pytest.mark.parametrize("size", [2, 4])
def test_fused_is_softmax_and_locations_before_the_other(size, make_arguments, run):
    arguments = make_arguments(size, points=(2, 1, 3))

    def composition(reference_points, sampling_offsets, attention_logits, **others):
        locations = sampling_locations(
            reference_points, others["spatial_shapes"], sampling_offsets, others["points_per_level"]
        )
        weights = attention_logits.exp() / attention_logits.exp().sum(-1, keepdim=True)
        return ms_deform_attn(sampling_locations=locations, attention_weights=weights, **others)

    output, gradients = run(ms_deform_attn_fused, arguments)
    expected, expected_gradients = run(composition, arguments)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(gradients, expected_gradients)


def test_points_outside_take_part_in_the_softmax(make_arguments):
    arguments = make_arguments(2, points=(1, 1, 1))
    arguments["attention_logits"].zero_()
    whole = reference.ms_deform_attn_fused(**arguments)
    arguments["sampling_offsets"][..., 1:, :] = math.nan
    first = reference.ms_deform_attn_fused(**arguments)
    weights = torch.tensor([1 / 3, 0, 0], dtype=torch.float64)
    locations = sampling_locations(
        arguments["reference_points"],
        arguments["spatial_shapes"],
        arguments["sampling_offsets"],
        arguments["points_per_level"],
    )
    expected = ms_deform_attn(
        arguments["value"],
        arguments["spatial_shapes"],
        arguments["level_start_index"],
        locations,
        weights.expand(arguments["attention_logits"].shape),
        [1, 1, 1],
    )
    torch.testing.assert_close(first, expected)
    assert not torch.equal(first, whole)
