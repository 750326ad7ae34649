"""Every wrong argument is refused with its name, what was expected and what came."""

import re

import pytest
import torch

from solq_ops.validate import validate_ms_deform_attn

# argument, how it is spoilt, the error, the message
MISTAKES = [
    ("value", lambda t: t.tolist(), TypeError, "value must be a torch.Tensor, got list"),
    (
        "level_start_index",
        lambda _: None,
        TypeError,
        "level_start_index must be a torch.Tensor, got NoneType",
    ),
    (
        "value",
        lambda t: t.long(),
        TypeError,
        "value must be torch.float64 or torch.float32 or torch.bfloat16 or torch.float16, "
        "got torch.int64",
    ),
    ("value", lambda t: t.to(torch.complex64), TypeError, "got torch.complex64"),
    (
        "spatial_shapes",
        lambda t: t.int(),
        TypeError,
        "spatial_shapes must be torch.int64, got torch.int32",
    ),
    (
        "spatial_shapes",
        lambda t: t.float(),
        TypeError,
        "spatial_shapes must be torch.int64, got torch.float32",
    ),
    (
        "level_start_index",
        lambda t: t.int(),
        TypeError,
        "level_start_index must be torch.int64, got torch.int32",
    ),
    (
        "sampling_locations",
        lambda t: t.double(),
        TypeError,
        "sampling_locations must be torch.float32 beside a torch.float32 value, got torch.float64",
    ),
    ("sampling_locations", lambda t: t.half(), TypeError, "got torch.float16"),
    (
        "attention_weights",
        lambda t: t.bfloat16(),
        TypeError,
        "attention_weights must be torch.float32",
    ),
    ("attention_weights", lambda t: t.long(), TypeError, "got torch.int64"),
    (
        "value",
        lambda t: t[0],
        ValueError,
        "value must be [batch, tokens, heads, channels], got shape (44, 3, 4)",
    ),
    ("value", lambda t: t[:, :0], ValueError, "with tokens >= 1, got shape (2, 0, 3, 4)"),
    ("value", lambda t: t[..., :0], ValueError, "with channels >= 1, got shape (2, 44, 3, 0)"),
    (
        "spatial_shapes",
        lambda t: t.flatten(),
        ValueError,
        "spatial_shapes must be [levels, 2], got shape (4,)",
    ),
    (
        "spatial_shapes",
        lambda t: t.repeat(1, 2),
        ValueError,
        "spatial_shapes must be [levels, 2], got shape (2, 4)",
    ),
    ("spatial_shapes", lambda t: t[:0], ValueError, "with levels >= 1, got shape (0, 2)"),
    (
        "level_start_index",
        lambda t: t[:1],
        ValueError,
        "level_start_index must be [levels] with levels = 2 as in spatial_shapes, got shape (1,)",
    ),
    (
        "level_start_index",
        lambda t: t[0],
        ValueError,
        "level_start_index must be [levels], got shape ()",
    ),
    (
        "sampling_locations",
        lambda t: t[0],
        ValueError,
        "sampling_locations must be [batch, queries,",
    ),
    (
        "sampling_locations",
        lambda t: t[:1],
        ValueError,
        "with batch = 2 as in value, got shape (1, 6, 3, 2, 2, 2)",
    ),
    ("sampling_locations", lambda t: t[:, :, :2], ValueError, "with heads = 3 as in value"),
    (
        "sampling_locations",
        lambda t: t[:, :, :, :1],
        ValueError,
        "with levels = 2 as in spatial_shapes",
    ),
    (
        "sampling_locations",
        lambda t: t[..., :1],
        ValueError,
        "points, 2], got shape (2, 6, 3, 2, 2, 1)",
    ),
    ("sampling_locations", lambda t: t[:, :, :, :, :0], ValueError, "with points >= 1"),
    ("attention_weights", lambda t: t[:1], ValueError, "with batch = 2 as in value"),
    (
        "attention_weights",
        lambda t: t[:, :5],
        ValueError,
        "with queries = 6 as in sampling_locations, got shape (2, 5, 3, 2, 2)",
    ),
    ("attention_weights", lambda t: t[:, :, :1], ValueError, "with heads = 3 as in value"),
    (
        "attention_weights",
        lambda t: t[..., :1, :],
        ValueError,
        "with levels = 2 as in spatial_shapes",
    ),
    (
        "attention_weights",
        lambda t: t[..., :1],
        ValueError,
        "with points = 2 as in sampling_locations",
    ),
    ("attention_weights", lambda t: t.flatten(3), ValueError, "got shape (2, 6, 3, 4)"),
    (
        "spatial_shapes",
        lambda t: t.flip(0) + 1,
        ValueError,
        "spatial_shapes must cover value's 44 tokens, got [[4, 4], [8, 6]], which cover 64",
    ),
    (
        "spatial_shapes",
        lambda t: -t,
        ValueError,
        "spatial_shapes must hold heights and widths >= 1",
    ),
    (
        "level_start_index",
        lambda t: t + 1,
        ValueError,
        "level_start_index must be [0, 35] for these spatial_shapes, got [1, 36]",
    ),
]
MISTAKES += [
    (name, lambda t: t.to("meta"), ValueError, f"{name} must be on cpu as value is, got meta")
    for name in ("spatial_shapes", "level_start_index", "sampling_locations", "attention_weights")
]


@pytest.fixture
def inputs(sample_inputs):
    return sample_inputs(((7, 5), (3, 3)), dtype=torch.float32)


@pytest.mark.parametrize(("name", "spoil", "error", "message"), MISTAKES)
def test_mistake_is_named(name, spoil, error, message, inputs):
    inputs[name] = spoil(inputs[name])
    with pytest.raises(error, match=re.escape(message)) as caught:
        validate_ms_deform_attn(**inputs)
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize("value_dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_values_take_coordinates_of_their_dtype_or_float32(value_dtype, inputs):
    inputs["value"] = inputs["value"].to(value_dtype)
    validate_ms_deform_attn(**inputs)
    inputs["sampling_locations"] = inputs["sampling_locations"].to(value_dtype)
    validate_ms_deform_attn(**inputs)
    inputs["attention_weights"] = inputs["attention_weights"].double()
    with pytest.raises(
        TypeError, match=f"attention_weights must be {value_dtype} or torch.float32"
    ):
        validate_ms_deform_attn(**inputs)


@pytest.mark.parametrize("empty", ["batch", "queries"])
def test_empty_batch_and_queries_are_no_mistake(empty, sample_inputs):
    validate_ms_deform_attn(**sample_inputs(**{empty: 0}))


def test_level_sizes_are_not_read_from_another_device(inputs):
    inputs["spatial_shapes"] += 1
    elsewhere = {name: tensor.to("meta") for name, tensor in inputs.items()}
    validate_ms_deform_attn(**elsewhere)


def test_level_sizes_are_not_read_while_compiling(inputs):
    inputs["spatial_shapes"] += 1
    compiled = torch.compile(
        lambda **arguments: (validate_ms_deform_attn(**arguments), arguments["value"] + 1)[1],
        fullgraph=True,
        backend="eager",
    )
    assert compiled(**inputs).shape == inputs["value"].shape
