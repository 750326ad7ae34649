"""Every wrong argument is refused with its name, what was expected and what came."""

import re

import pytest
import torch

from solq_ops import validate

# Of both operators: argument, how it is spoilt, the error, the message.
COMMON = [
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
        "spatial_shapes",
        lambda t: t.float().requires_grad_(),
        TypeError,
        "spatial_shapes must be torch.int64, got torch.float32 that requires a gradient",
    ),
    (
        "level_start_index",
        lambda t: t.int(),
        TypeError,
        "level_start_index must be torch.int64, got torch.int32",
    ),
    (
        "value",
        lambda t: t[0],
        ValueError,
        "value must be [batch, tokens, heads, channels], got shape (44, 3, 4)",
    ),
    ("value", lambda t: t[:, :0], ValueError, "with tokens >= 1, got shape (2, 0, 3, 4)"),
    ("value", lambda t: t[..., :0], ValueError, "with channels >= 1, got shape (2, 44, 3, 0)"),
    (
        "value",
        lambda t: t.repeat(1, 1, 1, 257),
        ValueError,
        "value must have channels <= 1024, got shape (2, 44, 3, 1028)",
    ),
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
UNFUSED = [
    (
        "sampling_locations",
        lambda t: t.double(),
        TypeError,
        "sampling_locations must be torch.float32 beside a torch.float32 value, got torch.float64",
    ),
    (
        "sampling_locations",
        lambda t: t.half(),
        TypeError,
        "sampling_locations must be torch.float32 beside a torch.float32 value "
        "(16 bits place a point up to a cell beside its own), got torch.float16",
    ),
    ("sampling_locations", lambda t: t.long(), TypeError, "torch.float32 value, got torch.int64"),
    (
        "attention_weights",
        lambda t: t.bfloat16(),
        TypeError,
        "attention_weights must be torch.float32 beside a torch.float32 value, got torch.bfloat16",
    ),
    ("attention_weights", lambda t: t.long(), TypeError, "got torch.int64"),
    (
        "sampling_locations",
        lambda t: t[0],
        ValueError,
        "sampling_locations must be [batch, queries, heads, levels, points, 2], got shape",
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
]
FUSED = [
    (
        "reference_points",
        lambda t: t.double(),
        TypeError,
        "reference_points must be torch.float32 beside a torch.float32 value, got torch.float64",
    ),
    (
        "reference_points",
        lambda t: t.bfloat16(),
        TypeError,
        "(16 bits place a point up to a cell beside its own), got torch.bfloat16",
    ),
    (
        "sampling_offsets",
        lambda t: t.half(),
        TypeError,
        "sampling_offsets must be torch.float32 beside a torch.float32 value, got torch.float16",
    ),
    (
        "attention_logits",
        lambda t: t.double(),
        TypeError,
        "attention_logits must be torch.float32 beside a torch.float32 value, got torch.float64",
    ),
    ("attention_logits", lambda t: t.long(), TypeError, "got torch.int64"),
    (
        "reference_points",
        lambda t: t[:, :, 0],
        ValueError,
        "reference_points must be [batch, queries, levels, 2 or 4], got shape (2, 6, 2)",
    ),
    (
        "reference_points",
        lambda t: t.repeat(1, 1, 1, 2)[..., :3],
        ValueError,
        "reference_points must be [batch, queries, levels, 2 or 4], got shape (2, 6, 2, 3)",
    ),
    (
        "reference_points",
        lambda t: t[:, :, :1],
        ValueError,
        "with levels = 2 as in spatial_shapes, got shape (2, 6, 1, 2)",
    ),
    (
        "sampling_offsets",
        lambda t: t[:, :5],
        ValueError,
        "sampling_offsets must be [batch, queries, heads, levels, points, 2] "
        "with queries = 6 as in reference_points, got shape (2, 5, 3, 2, 2, 2)",
    ),
    ("sampling_offsets", lambda t: t[:, :, :2], ValueError, "with heads = 3 as in value"),
    ("sampling_offsets", lambda t: t[..., :1], ValueError, "got shape (2, 6, 3, 2, 2, 1)"),
    (
        "attention_logits",
        lambda t: t[..., 1:],
        ValueError,
        "attention_logits must be [batch, queries, heads, levels * points] "
        "with levels * points = 4 as in sampling_offsets, got shape (2, 6, 3, 3)",
    ),
    (
        "attention_logits",
        lambda t: t.unflatten(-1, (2, 2)),
        ValueError,
        "levels * points], got shape (2, 6, 3, 2, 2)",
    ),
]
FLAT = [
    (
        "points_per_level",
        lambda p: torch.tensor(p),
        TypeError,
        "points_per_level must be a list or tuple of int, got tensor([1, 2])",
    ),
    (
        "points_per_level",
        lambda _: [1.0, 2.0],
        TypeError,
        "points_per_level must be a list or tuple of int, got [1.0, 2.0]",
    ),
    (
        "points_per_level",
        lambda _: [3],
        ValueError,
        "points_per_level must hold a number >= 1 for each of 2 levels, got [3]",
    ),
    ("points_per_level", lambda _: [0, 3], ValueError, "of 2 levels, got [0, 3]"),
    (
        "points_per_level",
        lambda _: [2, 2],
        ValueError,
        "points_per_level must sum to the 3 samples of the other arguments, "
        "got [2, 2], which sum to 4",
    ),
]
FLAT_UNFUSED = [
    (
        "sampling_locations",
        lambda t: t.unflatten(3, (3, 1)),
        ValueError,
        "sampling_locations must be [batch, queries, heads, samples, 2], got shape",
    ),
    (
        "attention_weights",
        lambda t: t[..., 1:],
        ValueError,
        "attention_weights must be [batch, queries, heads, samples] "
        "with samples = 3 as in sampling_locations, got shape (2, 6, 3, 2)",
    ),
]
FLAT_FUSED = [
    (
        "attention_logits",
        lambda t: t[..., 1:],
        ValueError,
        "attention_logits must be [batch, queries, heads, samples] "
        "with samples = 3 as in sampling_offsets, got shape (2, 6, 3, 2)",
    ),
]
TENSORS = {
    0: ("sampling_locations", "attention_weights"),
    2: ("reference_points", "sampling_offsets", "attention_logits"),
}
MISTAKES = [
    *((0, False, *mistake) for mistake in COMMON + UNFUSED),
    *((2, False, *mistake) for mistake in COMMON + FUSED),
    *((0, True, *mistake) for mistake in COMMON + FLAT + FLAT_UNFUSED),
    *((2, True, *mistake) for mistake in COMMON + FLAT + FLAT_FUSED),
    *(
        (form, False, name, lambda t: t.to("meta"), ValueError, "be on cpu as value is, got meta")
        for form in (0, 2)
        for name in ("spatial_shapes", "level_start_index", *TENSORS[form])
    ),
]
LEVELS = {"shapes": ((7, 5), (3, 3)), "dtype": torch.float32}


def check(form, arguments):
    """The validation of the form's operator."""
    function = validate.validate_ms_deform_attn_fused if form else validate.validate_ms_deform_attn
    return function(**arguments)


@pytest.mark.parametrize(("form", "is_flat", "name", "spoil", "error", "message"), MISTAKES)
def test_mistake_is_named(
    form, is_flat, name, spoil, error, message, make_arguments, make_levelled
):
    make = make_arguments if is_flat else make_levelled
    arguments = make(form, points=(1, 2) if is_flat else 2, **LEVELS)
    arguments[name] = spoil(arguments[name])
    with pytest.raises(error, match=re.escape(message)) as caught:
        check(form, arguments)
    assert str(caught.value).startswith(f"{name} must ")


@pytest.mark.parametrize("value_dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_values_take_weights_offsets_and_logits_of_their_dtype_or_float32(
    form, value_dtype, make_levelled
):
    arguments = make_levelled(form, **LEVELS)
    names = [
        name
        for name in TENSORS[form and 2]
        if name not in ("sampling_locations", "reference_points")
    ]
    arguments["value"] = arguments["value"].to(value_dtype)
    check(form, arguments)
    arguments |= {name: arguments[name].to(value_dtype) for name in names}
    check(form, arguments)
    arguments |= {name: arguments[name].double() for name in names}
    expected = f"{names[0]} must be {value_dtype} or torch.float32 beside a {value_dtype} value"
    with pytest.raises(TypeError, match=f"^{expected}, got torch.float64"):
        check(form, arguments)


def test_offsets_and_logits_have_one_dtype(make_levelled):
    arguments = make_levelled(2, **LEVELS)
    arguments["value"] = arguments["value"].bfloat16()
    arguments["attention_logits"] = arguments["attention_logits"].bfloat16()
    expected = "attention_logits must be torch.float32 beside torch.float32 sampling_offsets"
    with pytest.raises(TypeError, match=f"^{expected}, got torch.bfloat16"):
        check(2, arguments)


def test_autocast_takes_any_narrow_dtype_but_float64_stays_strict(form, make_levelled):
    arguments = make_levelled(form, **LEVELS)
    last = TENSORS[form and 2][-1]
    arguments[last] = arguments[last].half()
    exact = make_levelled(form, **LEVELS | {"dtype": torch.float64})
    exact[last] = exact[last].half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check(form, arguments)
        with pytest.raises(TypeError, match=f"{last} must be torch.float64"):
            check(form, exact)


@pytest.mark.parametrize("empty", ["batch", "queries"])
def test_empty_batch_and_queries_are_no_mistake(empty, form, make_levelled):
    check(form, make_levelled(form, **{empty: 0}))


def test_level_sizes_are_not_read_from_another_device(form, make_levelled):
    arguments = make_levelled(form)
    arguments["spatial_shapes"] += 1
    check(form, {name: tensor.to("meta") for name, tensor in arguments.items()})


def test_level_sizes_are_not_read_while_compiling(form, make_levelled):
    arguments = make_levelled(form)
    arguments["spatial_shapes"] += 1
    compiled = torch.compile(
        lambda **arguments: (check(form, arguments), arguments["value"] + 1)[1],
        fullgraph=True,
        backend="eager",
    )
    assert compiled(**arguments).shape == arguments["value"].shape
