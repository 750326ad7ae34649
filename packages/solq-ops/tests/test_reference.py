"""The definition: equal to grid_sample, worked by hand, safe at its edges, right gradients."""

import math

import pytest
import torch

from solq_ops.reference import ms_deform_attn

LEARNED = ("value", "sampling_locations", "attention_weights")
LEVELS = {
    "one level": ((5, 9),),
    "ragged levels": ((7, 5), (1, 1), (3, 8)),
    "one pixel": ((1, 1),),
    "a row and a column": ((1, 6), (6, 1)),
}
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def with_gradients(inputs):
    """The inputs, with the learned ones as fresh leaves that collect gradients."""
    return {
        name: tensor.detach().clone().requires_grad_(name in LEARNED)
        for name, tensor in inputs.items()
    }


def one_point(pixels, location, weight=1.0):
    """Inputs in which one query reads one point of a single-channel image."""
    image = torch.tensor(pixels, dtype=torch.float64)
    return {
        "value": image.view(1, -1, 1, 1),
        "spatial_shapes": torch.tensor([image.shape]),
        "level_start_index": torch.tensor([0]),
        "sampling_locations": torch.tensor(location, dtype=torch.float64).view(1, 1, 1, 1, 1, 2),
        "attention_weights": torch.full((1, 1, 1, 1, 1), weight, dtype=torch.float64),
    }


@pytest.mark.parametrize("shapes", LEVELS.values(), ids=LEVELS.keys())
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_outputs_and_gradients_equal_grid_sample(
    shapes, dtype, device, sample_inputs, grid_sample_oracle, tolerance
):
    inputs = sample_inputs(shapes, dtype=dtype, device=device)
    ours, theirs = with_gradients(inputs), with_gradients(inputs)
    output, expected = ms_deform_attn(**ours), grid_sample_oracle(**theirs)
    torch.testing.assert_close(output, expected, **tolerance(dtype))

    grad_output = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output)
    output.backward(grad_output)
    expected.backward(grad_output)
    for name in LEARNED:
        torch.testing.assert_close(ours[name].grad, theirs[name].grad, **tolerance(dtype))


@pytest.mark.parametrize("shape", [(4, 8), (1, 1)], ids=str)
def test_points_on_borders_and_pixel_centres_equal_grid_sample(
    shape, sample_inputs, grid_sample_oracle
):
    # Steps of half a pixel in powers of two: both formulations meet borders and centres exactly.
    marks = torch.arange(-2, 19, dtype=torch.float64) / 16
    grid = torch.cartesian_prod(marks, marks)
    inputs = sample_inputs((shape,), batch=1, queries=len(grid), heads=1, points=1)
    inputs["sampling_locations"] = grid.view(1, -1, 1, 1, 1, 2)
    torch.testing.assert_close(
        ms_deform_attn(**inputs), grid_sample_oracle(**inputs), rtol=0, atol=1e-15
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
    inputs = one_point([[10.0, 20.0], [30.0, 40.0]], location)
    assert ms_deform_attn(**inputs).item() == expected


def test_weights_are_used_as_they_are():
    assert ms_deform_attn(**one_point([[10.0, 20.0]], (0.5, 0.5), weight=-3.0)).item() == -45.0


def test_heads_follow_each_other_in_the_output(sample_inputs):
    inputs = sample_inputs(heads=3, channels=4)
    second = {name: inputs[name][:, :, 1:2] if name in LEARNED else inputs[name] for name in inputs}
    torch.testing.assert_close(ms_deform_attn(**inputs)[..., 4:8], ms_deform_attn(**second))


@pytest.mark.parametrize(
    "coordinate", [math.nan, math.inf, -math.inf, 1e30, -1e30, 3e9, 2.0, -1.0], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_points_far_outside_or_not_finite_contribute_nothing_and_get_no_gradient(
    coordinate, dtype, device, sample_inputs
):
    inputs = sample_inputs(dtype=dtype, device=device)
    inputs["sampling_locations"][:, :, :, :, 0, 0] = coordinate
    inputs["sampling_locations"][0, :, :, :, 0, 1] = coordinate
    without = dict(inputs)
    without["sampling_locations"] = inputs["sampling_locations"][:, :, :, :, 1:]
    without["attention_weights"] = inputs["attention_weights"][..., 1:]

    far, near = with_gradients(inputs), with_gradients(without)
    output, expected = ms_deform_attn(**far), ms_deform_attn(**near)
    torch.testing.assert_close(output, expected)
    output.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(far["value"].grad, near["value"].grad)
    for name in ("sampling_locations", "attention_weights"):
        assert far[name].grad[:, :, :, :, 0].count_nonzero() == 0
        torch.testing.assert_close(far[name].grad[:, :, :, :, 1:], near[name].grad)


def test_gradients_pass_gradcheck(sample_inputs):
    inputs = with_gradients(sample_inputs(queries=3, heads=2, channels=2))
    spatial_shapes, level_start_index = inputs["spatial_shapes"], inputs["level_start_index"]

    def function(value, sampling_locations, attention_weights):
        return ms_deform_attn(
            value, spatial_shapes, level_start_index, sampling_locations, attention_weights
        )

    assert torch.autograd.gradcheck(function, [inputs[name] for name in LEARNED])


@pytest.mark.parametrize("empty", ["batch", "queries"])
def test_no_batch_or_no_queries_gives_an_empty_output_and_zero_gradients(
    empty, device, sample_inputs
):
    inputs = with_gradients(sample_inputs(**{empty: 0}, device=device))
    output = ms_deform_attn(**inputs)
    assert output.shape == ((0, 6, 12) if empty == "batch" else (2, 0, 12))
    output.sum().backward()
    for name in LEARNED:
        assert inputs[name].grad.shape == inputs[name].shape
        assert inputs[name].grad.count_nonzero() == 0


def test_non_contiguous_arguments_give_the_same(device, sample_inputs):
    inputs = sample_inputs(device=device)
    strided = {
        name: tensor.transpose(0, -1).contiguous().transpose(0, -1)
        for name, tensor in inputs.items()
    }
    assert not any(strided[name].is_contiguous() for name in LEARNED)
    torch.testing.assert_close(ms_deform_attn(**strided), ms_deform_attn(**inputs), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_as_exact_as_its_rounding(dtype, device, sample_inputs, tolerance):
    inputs = sample_inputs(((16, 16), (8, 8)), points=4, dtype=dtype, device=device)
    inputs["attention_weights"] /= 8  # means, so that the result stays of size one
    exact = with_gradients(
        {name: inputs[name].double() if name in LEARNED else inputs[name] for name in inputs}
    )
    rounded = with_gradients(inputs)
    output, expected = ms_deform_attn(**rounded), ms_deform_attn(**exact)
    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), expected, **tolerance(dtype))

    output.sum().backward()
    expected.sum().backward()
    for name in LEARNED:
        assert rounded[name].grad.dtype == dtype
        torch.testing.assert_close(
            rounded[name].grad.double(), exact[name].grad, **tolerance(dtype)
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_float32_coordinates_beside_half_values_keep_their_precision(
    dtype, sample_inputs, tolerance
):
    inputs = sample_inputs(((64, 64),), dtype=torch.float32)
    inputs["value"] = inputs["value"].to(dtype)
    expected = ms_deform_attn(**inputs | {"value": inputs["value"].float()})
    output = ms_deform_attn(**inputs)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), expected, **tolerance(dtype))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_host_never_waits_for_the_device(sample_inputs):
    inputs = with_gradients(sample_inputs(dtype=torch.float32, device="cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        ms_deform_attn(**inputs).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
