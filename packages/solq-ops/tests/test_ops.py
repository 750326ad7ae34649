"""The operator: validated, registered, and understood by torch.compile and torch.export."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import solq_ops
from solq_ops import ms_deform_attn, reference

LEARNED = ("value", "sampling_locations", "attention_weights")


def test_public_names_are_the_operator_and_the_version():
    assert solq_ops.ms_deform_attn is ms_deform_attn
    assert solq_ops.__version__.split(".")[0].isdigit()


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
def test_function_and_registered_operator_equal_the_reference(dtype, device, sample_inputs):
    inputs = sample_inputs(dtype=dtype, device=device)
    expected = reference.ms_deform_attn(**inputs)
    assert torch.equal(ms_deform_attn(**inputs), expected)
    assert torch.equal(torch.ops.solq.ms_deform_attn(**inputs), expected)


def test_function_refuses_what_the_operator_could_misread(sample_inputs):
    inputs = sample_inputs(queries=6)
    inputs["attention_weights"] = inputs["attention_weights"][:, :5]
    with pytest.raises(ValueError, match="queries = 6 as in sampling_locations"):
        ms_deform_attn(**inputs)


# The check itself looks at `.grad` of tensors that are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("requires_grad", [False, True])
def test_operator_passes_opcheck(requires_grad, device, sample_inputs):
    inputs = sample_inputs(dtype=torch.float32, device=device)
    for name in LEARNED:
        inputs[name].requires_grad_(requires_grad)
    torch.library.opcheck(torch.ops.solq.ms_deform_attn.default, tuple(inputs.values()))


def test_function_gives_shapes_of_fake_tensors(sample_inputs):
    inputs = sample_inputs()
    with FakeTensorMode() as mode:
        output = ms_deform_attn(**{name: mode.from_tensor(inputs[name]) for name in inputs})
    assert output.shape == (2, 6, 12)


def test_compiled_function_is_one_graph_with_the_same_gradients(sample_inputs):
    compiled = torch.compile(ms_deform_attn, fullgraph=True, backend="aot_eager", dynamic=True)
    for queries in (6, 9):  # the second call has another size and runs the same graph
        eager = sample_inputs(queries=queries)
        traced = sample_inputs(queries=queries)
        for name in LEARNED:
            eager[name].requires_grad_()
            traced[name].requires_grad_()
        expected, output = ms_deform_attn(**eager), compiled(**traced)
        torch.testing.assert_close(output, expected)
        expected.square().sum().backward()
        output.square().sum().backward()
        for name in LEARNED:
            torch.testing.assert_close(traced[name].grad, eager[name].grad)


def test_exported_program_gives_the_same(sample_inputs):
    class Attention(torch.nn.Module):
        def forward(self, *arguments):
            return ms_deform_attn(*arguments)

    inputs = tuple(sample_inputs().values())
    program = torch.export.export(Attention(), inputs)
    torch.testing.assert_close(program.module()(*inputs), ms_deform_attn(*inputs))


def test_autocast_values_may_meet_float32_coordinates(sample_inputs):
    inputs = sample_inputs(dtype=torch.float32)
    inputs["value"] = inputs["value"].bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = ms_deform_attn(**inputs)
    assert torch.equal(output, ms_deform_attn(**inputs))
