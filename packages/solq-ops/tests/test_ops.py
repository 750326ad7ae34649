"""The public functions: their forms, validated, compiled, exported, mapped and autocast."""

import functools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import solq_ops
from solq_ops import ms_deform_attn, ms_deform_attn_fused

LEARNED = {
    0: ("value", "sampling_locations", "attention_weights"),
    2: ("value", "reference_points", "sampling_offsets", "attention_logits"),
    4: ("value", "reference_points", "sampling_offsets", "attention_logits"),
}
PYRAMIDS = [((2 * n, 3 * n), (n, n + 1)) for n in (3, 4, 5, 7)]  # of four image sizes


@pytest.fixture
def function(form):
    """The public function of the form."""
    return ms_deform_attn_fused if form else ms_deform_attn


@pytest.fixture
def levelled(form, make_levelled):
    """A function sizes → arguments of the public function."""
    return functools.partial(make_levelled, form)


class Attention(torch.nn.Module):
    """The public function as a module, for torch.export."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *arguments):
        return self.function(*arguments)


def test_public_names_are_the_operators_and_what_tells_of_them():
    assert {name for name in vars(solq_ops) if not name.startswith("_")} >= {
        "Backend",
        "backend",
        "ms_deform_attn",
        "ms_deform_attn_fused",
        "select_instruction_set",
    }
    assert solq_ops.__version__.split(".")[0].isdigit()


def test_both_forms_of_the_arguments_equal_the_registered_operator(
    form, function, levelled, device, make_arguments, operator
):
    flat = make_arguments(form, points=2, device=device)
    expected = operator(form)(**flat)
    assert torch.equal(function(**levelled(device=device)), expected)
    assert torch.equal(function(**flat), expected)
    assert torch.equal(function(**flat | {"points_per_level": (2, 2, 2)}), expected)


def test_levels_may_differ_in_their_number_of_points(
    form, function, device, make_arguments, operator
):
    flat = make_arguments(form, points=(3, 1, 2), device=device)
    assert torch.equal(function(**flat), operator(form)(**flat))


def test_functions_refuse_what_the_operator_could_misread(form, function, levelled):
    arguments = levelled()
    last = LEARNED[form][-1]
    arguments[last] = arguments[last][:, :5]
    with pytest.raises(ValueError, match=f"{last} .* with queries = 6 as in"):
        function(**arguments)


def test_functions_give_shapes_of_fake_and_meta_tensors(function, levelled):
    arguments = levelled()
    with FakeTensorMode() as mode:
        fakes = {name: mode.from_tensor(tensor) for name, tensor in arguments.items()}
        assert function(**fakes).shape == (2, 6, 12)
    on_meta = {name: tensor.to("meta") for name, tensor in arguments.items()}
    assert function(**on_meta).shape == (2, 6, 12)


@pytest.mark.parametrize("dynamic", [True, None], ids=["dynamic", "automatic"])
def test_compiled_function_is_one_graph_for_all_image_sizes(
    dynamic, form, function, levelled, device
):
    graphs = []

    def counting(module, example_inputs):
        graphs.append(module)
        return torch._dynamo.lookup_backend("aot_eager")(module, example_inputs)

    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend=counting, dynamic=dynamic)
    for shapes in PYRAMIDS:
        tokens = sum(height * width for height, width in shapes)
        sizes = {"shapes": shapes, "queries": tokens, "device": device, "requires_grad": True}
        eager, traced = levelled(**sizes), levelled(**sizes)
        expected, output = function(**eager), compiled(**traced)
        torch.testing.assert_close(output, expected)
        expected.square().sum().backward()
        output.square().sum().backward()
        for name in LEARNED[form]:
            torch.testing.assert_close(traced[name].grad, eager[name].grad)
    # By default torch compiles a fixed size first, and any size when it meets another.
    assert len(graphs) == (1 if dynamic else 2)


def test_compiled_function_takes_points_per_level(form, function, make_arguments, device):
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=True)
    for queries in (6, 9):
        arguments = make_arguments(form, points=(3, 1, 2), queries=queries, device=device)
        torch.testing.assert_close(compiled(**arguments), function(**arguments))


# Of torch 2.10's own making.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_inductor_gives_the_same(form, function, levelled, device):
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True)
    arguments = levelled(device=device, requires_grad=True)
    output = compiled(**arguments)
    torch.testing.assert_close(output, function(**arguments))
    output.sum().backward()
    assert all(arguments[name].grad.count_nonzero() > 0 for name in LEARNED[form])


def test_exported_program_gives_the_same_for_other_sizes(form, function, levelled):
    batch, tokens, queries = (torch.export.Dim(name) for name in ("batch", "tokens", "queries"))
    sampled = {0: batch, 1: queries}
    shapes = ({0: batch, 1: tokens}, None, None, *[sampled for _ in LEARNED[form][1:]])
    program = torch.export.export(
        Attention(function), tuple(levelled().values()), dynamic_shapes=(shapes,)
    )
    assert "solq.ms_deform_attn" in str(program.graph)
    others = tuple(levelled(shapes=PYRAMIDS[0] + PYRAMIDS[1][:1], batch=3, queries=7).values())
    torch.testing.assert_close(program.module()(*others), function(*others))


def test_vmap_goes_through_the_checks(function, levelled, device):
    arguments = levelled(device=device)
    values = torch.stack([arguments.pop("value")] * 2)
    mapped = torch.vmap(lambda value: function(value, **arguments))(values)
    torch.testing.assert_close(mapped[1], function(values[1], **arguments))
    shapes = torch.stack([arguments.pop("spatial_shapes")] * 2)
    with pytest.raises(ValueError, match="spatial_shapes must be the same for all"):
        torch.vmap(lambda layout: function(values[0], layout, **arguments))(shapes)


def test_autocast_takes_what_layers_of_an_autocast_region_give(form, function, levelled, device):
    arguments = levelled(dtype=torch.float32, device=device)
    for name in LEARNED[form]:
        if name not in ("value", "sampling_locations", "reference_points"):
            arguments[name] = arguments[name].bfloat16()
    with torch.autocast(device.type, dtype=torch.bfloat16):
        output = function(**arguments)
    assert torch.equal(output, function(**arguments | {"value": arguments["value"].bfloat16()}))


# torch's own forward mode says it on its first use.
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_forward_mode_derivatives_are_refused_and_not_taken_for_zero(function, levelled):
    arguments = levelled()

    def of_value(value):
        return function(**arguments | {"value": value})

    value = arguments["value"]
    with pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        torch.func.jvp(of_value, (value,), (torch.ones_like(value),))
