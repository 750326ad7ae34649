"""The operators as torch knows them: fake, differentiable once, mapped, autocast, announced."""

import logging

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from solq_ops import registration

SAMPLED = {
    0: ("sampling_locations", "attention_weights"),
    2: ("reference_points", "sampling_offsets", "attention_logits"),
    4: ("reference_points", "sampling_offsets", "attention_logits"),
}


@pytest.fixture
def learned(form):
    """Names of the arguments that have gradients."""
    return ("value", *SAMPLED[form])


@pytest.fixture
def backward_operator(form):
    """The registered operator of the gradients."""
    name = "ms_deform_attn_fused_backward" if form else "ms_deform_attn_backward"
    return getattr(torch.ops.solq, name).default


class Calls(TorchDispatchMode):
    """Records the operators of this namespace that reach the kernels, with their arguments."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "solq":
            self.calls.append((func, args))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("requires_grad", [False, True], ids=["no grad", "grad"])
# The check itself looks at `.grad` of tensors that are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_operator_passes_opcheck(form, dtype, requires_grad, device, make_arguments, operator):
    sizes = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    arguments = make_arguments(form, points=(2, 1, 3), **sizes)
    torch.library.opcheck(operator(form), tuple(arguments.values()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_backward_operator_passes_opcheck(form, dtype, device, make_arguments, backward_operator):
    arguments = make_arguments(form, dtype=dtype, device=device, points=(2, 1, 3))
    grad_output = torch.randn(2, 6, 12, generator=torch.Generator().manual_seed(0))
    grad_output = grad_output.to(device, dtype)
    torch.library.opcheck(backward_operator, (grad_output, *arguments.values(), True))


def test_fake_gradients_have_the_shapes_dtypes_and_strides_of_the_arguments(
    form, learned, make_arguments, backward_operator
):
    arguments = make_arguments(form, dtype=torch.float32)
    arguments["value"] = arguments["value"].half().transpose(0, 1).contiguous().transpose(0, 1)
    with FakeTensorMode() as mode:
        *tensors, points_per_level = arguments.values()
        fakes = [mode.from_tensor(tensor) for tensor in tensors]
        grad_output = torch.empty(2, 6, 12, dtype=torch.float16)
        gradients = backward_operator(grad_output, *fakes, points_per_level, False)
    for name, gradient in zip(learned, gradients, strict=True):
        assert gradient.shape == arguments[name].shape
        assert gradient.dtype == arguments[name].dtype
        assert gradient.is_contiguous()


def test_only_what_requires_a_gradient_gets_one(form, learned, device, make_arguments, operator):
    for name in learned:
        arguments = make_arguments(form, device=device)
        arguments[name].requires_grad_()
        operator(form)(**arguments).sum().backward()
        assert arguments[name].grad.count_nonzero() > 0
        others = set(learned) - {name}
        assert all(arguments[other].grad is None for other in others)


def test_gradients_of_gradients_are_refused(form, device, make_arguments, operator):
    arguments = make_arguments(form, device=device, requires_grad=True)
    output = operator(form)(**arguments)
    (gradient,) = torch.autograd.grad(output.sum(), arguments["value"], create_graph=True)
    with pytest.raises(
        NotImplementedError, match=r"solq_ops\.ms_deform_attn.* differentiable once"
    ):
        gradient.sum().backward()


@pytest.mark.parametrize("deterministic", [False, True])
def test_backward_is_told_whether_it_has_to_be_deterministic(
    deterministic, form, make_arguments, operator
):
    output = operator(form)(**make_arguments(form, requires_grad=True))
    torch.use_deterministic_algorithms(deterministic)
    try:
        with Calls() as recorded:
            output.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    ((_, arguments),) = recorded.calls
    assert arguments[-1] is deterministic


IN_DIMS = {  # of value, and of what is sampled
    "all": (0, 0),
    "inner axes": (2, 1),
    "the last axis": (-1, -1),
    "values only": (0, None),
    "samples only": (None, 0),
}


@pytest.mark.parametrize("dims", IN_DIMS.values(), ids=IN_DIMS.keys())
def test_vmap_equals_a_loop(dims, form, learned, device, make_arguments, operator, run):
    items = [make_arguments(form, device=device, seed=seed) for seed in range(3)]
    shared = {name: items[0][name] for name in items[0] if name not in learned}
    dims_by_name = {name: dims[0] if name == "value" else dims[1] for name in learned}
    stacked = {
        name: items[0][name] if dim is None else torch.stack([i[name] for i in items], dim)
        for name, dim in dims_by_name.items()
    }

    def mapped(**arguments):
        def function(*tensors):
            return operator(form)(**dict(zip(learned, tensors, strict=True)), **shared)

        in_dims = tuple(dims_by_name.values())
        return torch.vmap(function, in_dims)(*[arguments[name] for name in learned])

    def loop(**arguments):
        return torch.stack(
            [
                operator(form)(
                    **shared,
                    **{
                        name: arguments[name] if dim is None else arguments[name].select(dim, i)
                        for name, dim in dims_by_name.items()
                    },
                )
                for i in range(3)
            ]
        )

    output, gradients = run(mapped, stacked)
    expected, expected_gradients = run(loop, stacked)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(gradients, expected_gradients)


def test_vmap_of_the_gradients_equals_a_loop(form, device, make_arguments, backward_operator):
    arguments = make_arguments(form, device=device)
    grad_outputs = torch.randn(3, 2, 6, 12, generator=torch.Generator().manual_seed(0))
    grad_outputs = grad_outputs.to(device, torch.float64)

    def gradients(grad_output):
        return backward_operator(grad_output, *arguments.values(), True)

    found = torch.vmap(gradients)(grad_outputs)
    for index, grad_output in enumerate(grad_outputs):
        torch.testing.assert_close(tuple(g[index] for g in found), gradients(grad_output))


@pytest.mark.parametrize("name", ["spatial_shapes", "level_start_index"])
def test_vmap_over_the_layout_of_levels_is_refused(name, form, device, make_arguments, operator):
    arguments = make_arguments(form, device=device)
    layouts = torch.stack([arguments.pop(name)] * 2)
    with pytest.raises(ValueError, match=f"{name} must be the same for all that is mapped"):
        torch.vmap(lambda layout: operator(form)(**arguments, **{name: layout}))(layouts)


@pytest.mark.parametrize("value_dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_casts_the_value_only(
    value_dtype, dtype, form, learned, device, make_arguments, operator
):
    arguments = make_arguments(form, dtype=torch.float32, device=device, requires_grad=True)
    arguments["value"] = arguments["value"].detach().to(value_dtype).requires_grad_()
    with Calls() as recorded, torch.autocast(device.type, dtype=dtype):
        output = operator(form)(**arguments)
    ((_, received),) = recorded.calls
    assert output.dtype == received[0].dtype == dtype
    assert [tensor.dtype for tensor in received[3:-1]] == [torch.float32] * len(SAMPLED[form])
    assert torch.equal(
        output, operator(form)(**arguments | {"value": arguments["value"].to(dtype)})
    )
    output.sum().backward()
    for name in learned:
        assert arguments[name].grad.dtype == arguments[name].dtype
        assert arguments[name].grad.count_nonzero() > 0


def test_autocast_leaves_float64_alone(form, device, make_arguments, operator):
    arguments = make_arguments(form, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        output = operator(form)(**arguments)
    assert output.dtype == torch.float64
    assert torch.equal(output, operator(form)(**arguments))


def test_autocast_widens_what_the_cast_value_does_not_go_with(
    form, device, make_arguments, operator
):
    arguments = make_arguments(form, dtype=torch.float32, device=device)
    last = SAMPLED[form][-1]
    mixed = arguments | {last: arguments[last].half()}
    widened = arguments | {
        "value": arguments["value"].bfloat16(),
        last: arguments[last].half().float(),
    }
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert torch.equal(operator(form)(**mixed), operator(form)(**widened))


def test_gradients_of_an_autocast_region_are_right_inside_and_outside(
    form, learned, device, make_arguments, operator
):
    arguments = make_arguments(form, dtype=torch.float32, device=device, requires_grad=True)
    leaves = [arguments[name] for name in learned]
    with torch.autocast(device.type, dtype=torch.bfloat16):
        output = operator(form)(**arguments)
        inside = torch.autograd.grad(output.sum(), leaves, retain_graph=True)
    outside = torch.autograd.grad(output.sum(), leaves)
    for one, other in zip(inside, outside, strict=True):
        assert torch.equal(one, other)


def test_reference_is_announced_once_for_each_type_of_device(caplog):
    registration.announce_reference.cache_clear()
    with caplog.at_level(logging.WARNING, "solq_ops"):
        for device_type in ("mps", "cpu", "mps", "cpu", "mps"):
            registration.announce_reference(device_type)
    assert [record.args for record in caplog.records] == [("mps",), ("cpu",)]
    assert "no compiled kernel for mps devices" in caplog.text


def test_reference_kernels_announce_themselves(form, caplog, make_arguments):
    registration.announce_reference.cache_clear()
    name = "ms_deform_attn_fused" if form else "ms_deform_attn"
    arguments = make_arguments(form)
    with caplog.at_level(logging.WARNING, "solq_ops"):
        output = registration.REFERENCE_KERNELS[name](*arguments.values())
        registration.REFERENCE_KERNELS[f"{name}_backward"](output, *arguments.values(), False)
    assert len(caplog.records) == 1
