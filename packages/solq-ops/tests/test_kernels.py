"""Whatever kernels run, on each device and instruction set, equal the definition in float64."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from solq_ops import ms_deform_attn, ms_deform_attn_fused

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
RAGGED = ((7, 5), (1, 1), (3, 8), (2, 9), (1, 4), (6, 1), (5, 5), (4, 2))
# Of the errors relative to float64: forward, and of each gradient.
TOLERANCE = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-5, 1e-4),
    torch.bfloat16: (2**-8, 2**-8),
    torch.float16: (2**-11, 2**-11),
}
CASES = {
    **{
        f"{channels} channels": {"channels": channels, "heads": 2}
        for channels in (*range(1, 81), 128, 256, 1024)
    },
    **{f"{levels} levels": {"shapes": RAGGED[:levels]} for levels in range(1, 9)},
    **{f"{points} points": {"points": points} for points in range(1, 9)},
    "unequal points": {"points": (5, 1, 3)},
    "unequal points on 8 levels": {"shapes": RAGGED, "points": (1, 8, 2, 7, 3, 6, 4, 5)},
    **{f"batch of {batch}": {"batch": batch} for batch in (0, 1, 2, 65, 127)},
    "no queries": {"queries": 0},
    "one query": {"queries": 1, "batch": 1},
    "one head": {"heads": 1, "channels": 48},
    "8 heads": {"heads": 8, "channels": 48, "queries": 20},
    "32 samples": {"points": 8, "shapes": RAGGED[:4], "channels": 48},
    "every token a query": {"queries": 60, "channels": 48},
    "more values than caches hold": {"shapes": ((64, 48), (32, 24)), "heads": 8, "channels": 48},
    "one pixel": {"shapes": ((1, 1),), "channels": 48},
    "strange points": {"strange": True, "queries": 30, "channels": 17},
    "strange points, 48 channels": {"strange": True, "queries": 30, "channels": 48},
}


@pytest.mark.parametrize("sizes", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("dtype", FLOATS[1:], ids=str)  # float64 meets any sizes further down
def test_outputs_and_gradients_equal_the_definition(
    sizes, form, dtype, kernel_device, make_arguments, operator, run, exact_run, relative_error
):
    expected, expected_gradients = exact_run(form, dtype=dtype, **sizes)
    arguments = make_arguments(form, dtype=dtype, device=kernel_device, **sizes)
    output, gradients = run(operator(form), arguments)
    assert output.dtype == dtype
    assert relative_error(output, expected) <= TOLERANCE[dtype][0]
    for name, gradient in gradients.items():
        assert gradient.dtype == arguments[name].dtype
        assert gradient.shape == arguments[name].shape
        error = relative_error(gradient, expected_gradients[name])
        assert error <= TOLERANCE[gradient.dtype][1], name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_values_may_come_with_float32_weights_offsets_and_logits(
    form, dtype, kernel_device, make_arguments, operator, definition, run, relative_error
):
    sizes = {"channels": 48, "queries": 20, "points": 4}
    arguments = make_arguments(form, dtype=torch.float32, device=kernel_device, **sizes)
    arguments["value"] = arguments["value"].to(dtype)
    output, gradients = run(operator(form), arguments)
    expected, expected_gradients = run(definition(form), as_float64(arguments))
    assert output.dtype == gradients["value"].dtype == dtype
    assert relative_error(output, expected) <= TOLERANCE[dtype][0]
    for name, gradient in gradients.items():
        error = relative_error(gradient, expected_gradients[name])
        assert error <= TOLERANCE[gradient.dtype][1], name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_points_on_borders_and_pixel_centres_have_the_defined_values_and_gradients(
    dtype, kernel_device, make_arguments, operator, definition, run, relative_error
):
    # Half and quarter pixels of a level whose size is a power of two: exact in either dtype.
    marks = torch.arange(-3, 36) / 32
    grid = torch.cartesian_prod(marks, marks)
    sizes = {"shapes": ((8, 8),), "batch": 1, "queries": len(grid), "points": 1, "channels": 5}
    arguments = make_arguments(dtype=dtype, device=kernel_device, **sizes)
    locations = grid.view(1, -1, 1, 1, 2).expand_as(arguments["sampling_locations"])
    arguments["sampling_locations"] = locations.to(kernel_device, dtype)
    output, gradients = run(operator(0), arguments)
    expected, expected_gradients = run(definition(0), as_float64(arguments))
    assert relative_error(output, expected) <= TOLERANCE[dtype][0]
    for name, gradient in gradients.items():
        assert relative_error(gradient, expected_gradients[name]) <= TOLERANCE[dtype][1], name


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_points_that_are_far_or_not_finite_get_gradients_of_exactly_zero(
    form, dtype, kernel_device, make_arguments, operator, run
):
    arguments = make_arguments(
        form, dtype=dtype, device=kernel_device, strange=True, queries=30, channels=19
    )
    coordinates = "sampling_offsets" if form else "sampling_locations"
    strange = ~(arguments[coordinates].abs() < 1e5).all(-1)
    output, gradients = run(operator(form), arguments)
    assert strange.any()
    assert output.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert gradients[coordinates][strange].count_nonzero() == 0
    if not form:
        assert gradients["attention_weights"][strange].count_nonzero() == 0


@pytest.mark.parametrize("size", [2, 4])
def test_references_that_are_not_finite_read_nothing_and_get_no_gradient(
    size, kernel_device, make_arguments, operator, run
):
    arguments = make_arguments(size, dtype=torch.float32, device=kernel_device, channels=16)
    for query, number in enumerate((torch.nan, torch.inf, -torch.inf)):
        arguments["reference_points"][:, query, :, query % size] = number
        arguments["reference_points"][:, query + 3, :, -1] = number
    output, gradients = run(operator(size), arguments)
    assert output.count_nonzero() == 0
    for name, gradient in gradients.items():
        assert gradient.count_nonzero() == 0, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_values_of_white_noise_are_read_where_they_are(
    dtype, form, kernel_device, make_arguments, operator, definition, relative_error
):
    # Of this width, coordinates in 16 bits would miss by half a pixel (bfloat16) and read another
    # pixel of the noise.
    sizes = {"shapes": ((20, 267),), "batch": 1, "queries": 2000, "points": 4, "channels": 16}
    arguments = make_arguments(form, dtype=dtype, device=kernel_device, **sizes)
    expected = definition(form)(**as_float64(arguments))
    error = relative_error(operator(form)(**arguments), expected)
    assert error <= TOLERANCE[dtype][0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_gradients_hold_where_1302_contributions_meet(
    dtype, form, kernel_device, make_arguments, operator
):
    # As many meet in a pixel of the coarsest level of an encoder of four; in bfloat16 a running
    # sum of positive numbers would stand still at 256.
    sizes = {"shapes": ((1, 1),), "batch": 1, "queries": 1302, "points": 1, "channels": 48}
    arguments = make_arguments(form, dtype=dtype, device=kernel_device, **sizes)
    if form:
        arguments["sampling_offsets"].zero_()
    else:
        arguments["sampling_locations"].fill_(0.5)
        arguments["attention_weights"].fill_(1)
    arguments["value"].requires_grad_()
    operator(form)(**arguments).backward(torch.ones(1, 1302, 144).to(kernel_device, dtype))
    gradient = arguments["value"].grad.double()
    expected = 1302 * (1 - 1 / 128) ** 2 if form else 1302
    assert ((gradient - expected).abs() <= 0.01 * expected).all()


def test_float64_gradients_pass_gradcheck(form, kernel_device, make_arguments, operator):
    sizes = {"queries": 2, "heads": 2, "channels": 3, "points": (2, 1, 3), "requires_grad": True}
    arguments = make_arguments(form, device=kernel_device, **sizes)
    *tensors, points_per_level = arguments.values()
    assert torch.autograd.gradcheck(
        lambda *inputs: operator(form)(*inputs, points_per_level), tensors
    )


@given(data=st.data())
@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_sizes_and_any_numbers_give_what_is_defined(
    data, form, kernel_device, make_arguments, operator, definition, run, relative_error
):
    sides = st.integers(1, 7)
    shapes = data.draw(st.lists(st.tuples(sides, sides), min_size=1, max_size=4))
    sizes = {
        "shapes": tuple(shapes),
        "points": tuple(data.draw(st.integers(1, 4)) for _ in shapes),
        "batch": data.draw(st.integers(0, 3)),
        "queries": data.draw(st.integers(0, 5)),
        "heads": data.draw(st.integers(1, 3)),
        "channels": data.draw(st.integers(1, 35)),
        "seed": data.draw(st.integers(0, 2**32)),
    }
    arguments = make_arguments(form, device=kernel_device, **sizes)
    numbers = torch.tensor(data.draw(st.lists(st.floats(), min_size=1, max_size=6))).double()
    coordinates = arguments["sampling_offsets" if form else "sampling_locations"]
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(numbers), coordinates.shape, generator=generator)
    replaced = torch.rand(coordinates.shape, generator=generator) < 0.5
    coordinates[replaced] = numbers[chosen][replaced].to(kernel_device)

    output, gradients = run(operator(form), arguments)
    expected, expected_gradients = run(definition(form), arguments)
    assert relative_error(output, expected) <= 1e-11
    # Not that of the coordinates: it jumps at pixel centres, where such numbers like to be.
    for name in ("value", "attention_logits" if form else "attention_weights"):
        assert relative_error(gradients[name], expected_gradients[name]) <= 1e-11, name


@pytest.mark.parametrize("heads", [1, 8])  # one head of one image: the threads share its levels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_one_thread_and_two_give_the_same_bits(
    form, dtype, heads, kernel_device, make_arguments, operator, run, threads
):
    sizes = {"shapes": ((24, 30), (6, 8)), "queries": 301, "heads": heads, "channels": 48}
    sizes["batch"] = 1
    arguments = make_arguments(form, dtype=dtype, device=kernel_device, **sizes)
    found = []
    for number in (1, 2):
        threads(number)
        found.append(run(operator(form), arguments))
    assert_same_bits(*found)


def test_a_hundred_runs_give_the_same_bits_when_asked(
    form, kernel_device, make_arguments, operator, run
):
    sizes = {"shapes": ((9, 11), (1, 1)), "queries": 50, "channels": 16, "dtype": torch.float32}
    arguments = make_arguments(form, device=kernel_device, **sizes)
    torch.use_deterministic_algorithms(kernel_device.type != "cpu")  # where it is never needed
    try:
        first = run(operator(form), arguments)
        for _ in range(99):
            assert_same_bits(run(operator(form), arguments), first)
    finally:
        torch.use_deterministic_algorithms(False)


def test_strides_make_no_difference(form, kernel_device, make_arguments, operator, run):
    arguments = make_arguments(form, dtype=torch.float32, device=kernel_device, channels=12)
    strided = {
        name: value
        if isinstance(value, list)
        else value.transpose(0, -1).contiguous().transpose(0, -1)
        for name, value in arguments.items()
    }
    assert not strided["value"].is_contiguous()
    assert_same_bits(run(operator(form), strided), run(operator(form), arguments))


def test_the_gradient_of_the_output_may_be_one_number_for_all(
    form, kernel_device, make_arguments, operator
):
    arguments = make_arguments(form, device=kernel_device, requires_grad=True)
    leaves = [arguments["value"], list(arguments.values())[3]]
    output = operator(form)(**arguments)
    broadcast = torch.ones((), device=kernel_device, dtype=torch.float64).expand_as(output)
    found = torch.autograd.grad(output, leaves, broadcast, retain_graph=True)
    expected = torch.autograd.grad(output, leaves, broadcast.contiguous())
    for gradient, equal in zip(found, expected, strict=True):
        assert torch.equal(gradient, equal)


def test_more_than_2_31_elements_have_a_shape(make_arguments):
    arguments = make_arguments(dtype=torch.bfloat16, device="meta")
    value = torch.empty(3, 44, 2**13, 2**13, dtype=torch.bfloat16, device="meta")
    locations = torch.empty(3, 7, 2**13, 6, 2, device="meta")
    weights = torch.empty(3, 7, 2**13, 6, device="meta")
    arguments |= {"value": value, "sampling_locations": locations, "attention_weights": weights}
    assert torch.ops.solq.ms_deform_attn(**arguments).shape == (3, 7, 2**26)


@pytest.mark.slow
def test_values_behind_2_31_elements_are_read(form, kernel_device):
    height, width = 2048, 1025
    try:  # memory that is never written is never given by the system
        value = torch.empty(2, height * width, 8, 64, device=kernel_device)
    except RuntimeError as error:
        pytest.skip(f"no room for 8.6 GB of addresses: {error}")
    assert value.numel() > 2**31
    rows = torch.randn(2, 8, 64, generator=torch.Generator().manual_seed(0)).to(kernel_device)
    value[:, -1] = rows
    corner = torch.tensor([1 - 0.5 / width, 1 - 0.5 / height], device=kernel_device)
    shared = {
        "value": value,
        "spatial_shapes": torch.tensor([[height, width]], device=kernel_device),
        "level_start_index": torch.tensor([0], device=kernel_device),
    }
    ones = torch.ones(2, 1, 8, 1, 1, device=kernel_device)
    if form:
        reference = torch.cat((corner, corner))[:form].expand(2, 1, 1, form)
        offsets = torch.zeros(2, 1, 8, 1, 1, 2, device=kernel_device)
        output = ms_deform_attn_fused(
            **shared,
            reference_points=reference,
            sampling_offsets=offsets,
            attention_logits=ones[..., 0],
        )
    else:
        locations = corner.expand(2, 1, 8, 1, 1, 2)
        output = ms_deform_attn(**shared, sampling_locations=locations, attention_weights=ones)
    # The pixels around the last hold anything, and the rounded corner is 1e-4 off its centre.
    torch.testing.assert_close(output.view(2, 8, 64), rows, rtol=1e-3, atol=1e-3)


def as_float64(arguments):
    """The same numbers, for the definition to be exact."""
    fixed = ("spatial_shapes", "level_start_index", "points_per_level")
    return {name: value if name in fixed else value.double() for name, value in arguments.items()}


def assert_same_bits(one, other):
    """Equality of what `run` gives."""
    assert torch.equal(one[0], other[0])
    for name in one[1]:
        assert torch.equal(one[1][name], other[1][name]), name
