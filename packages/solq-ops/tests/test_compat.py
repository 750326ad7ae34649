"""The published signatures: the same numbers, any step, 16-bit locations lifted."""

import pytest
import torch

from solq_ops import ms_deform_attn
from solq_ops.compat import MSDeformAttnFunction, MultiScaleDeformableAttnFunction

FUNCTIONS = (MSDeformAttnFunction, MultiScaleDeformableAttnFunction)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("batch", [0, 2, 65])
def test_apply_is_the_operator_for_any_batch_and_step(function, batch, device, make_levelled, run):
    arguments = make_levelled(batch=batch, device=device)
    output, gradients = run(lambda **named: function.apply(*named.values(), 64), arguments)
    expected, expected_gradients = run(ms_deform_attn, arguments)
    assert torch.equal(output, expected)
    for name, gradient in gradients.items():
        assert torch.equal(gradient, expected_gradients[name])


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_locations_and_weights_come_in_the_dtype_of_the_value(
    function, dtype, device, make_levelled, run
):
    arguments = make_levelled(dtype=dtype, device=device)
    arguments["sampling_locations"] = arguments["sampling_locations"].to(dtype)
    output, gradients = run(lambda **named: function.apply(*named.values(), 64), arguments)
    assert output.dtype == dtype
    assert {gradient.dtype for gradient in gradients.values()} == {dtype}
    exact = {
        name: tensor.float() if name in gradients else tensor for name, tensor in arguments.items()
    }
    exact["value"] = arguments["value"]
    assert torch.equal(output, ms_deform_attn(**exact))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_half_values_meet_float32_locations_as_under_autocast(function, device, make_levelled):
    arguments = make_levelled(dtype=torch.float32, device=device)
    arguments["value"] = arguments["value"].half()
    assert torch.equal(function.apply(*arguments.values(), 64), ms_deform_attn(**arguments))


def test_mistakes_are_named_here_too(make_levelled):
    arguments = make_levelled()
    arguments["spatial_shapes"] = arguments["spatial_shapes"].int()
    with pytest.raises(TypeError, match=r"spatial_shapes must be torch\.int64"):
        MSDeformAttnFunction.apply(*arguments.values(), 64)
