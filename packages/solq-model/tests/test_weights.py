"""Weights that cannot be used are named, with what to do."""

import math

import pytest
import torch

from solq_model.weights import RESET_HEAD, advice_on, check_finite, is_class_head


def test_finite_weights_pass():
    big = torch.full((3,), torch.finfo(torch.float32).max)
    state = {"a": torch.ones(2), "big": big, "half": torch.full((9,), 65504.0).half()}
    check_finite(
        state | {"count": torch.tensor(3), "empty": torch.zeros(0), "flag": torch.tensor(True)}
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_counted_by_tensor(value):
    state = {"a": torch.ones(4), "b": torch.ones(3, 2), "c": torch.ones(1)}
    state["b"][1] = value
    state["c"][0] = value
    message = (
        r"2 tensors hold NaN or infinite values: b \(2 of 6\); c \(1 of 1\)\. The training that "
        "wrote them had diverged: take an earlier checkpoint"
    )
    with pytest.raises(ValueError, match=message):
        check_finite(state)


def test_infinities_that_cancel_are_found():
    with pytest.raises(ValueError, match=r"a \(2 of 3\)"):
        check_finite({"a": torch.tensor([math.inf, -math.inf, 1.0])})


def test_of_many_spoilt_tensors_four_are_named():
    state = {name: torch.tensor([math.nan]) for name in "abcdef"}
    with pytest.raises(ValueError, match=r"6 tensors hold .*: a \(.*; d \(1 of 1\); …"):
        check_finite(state)


def test_class_heads_are_those_of_layers_and_proposals(make_model):
    names = make_model(two_stage=True, decoder_layers=2).state_dict()
    heads = sorted(name for name in names if is_class_head(name))
    places = ("class_heads.heads.0", "class_heads.heads.1", "queries.head.class_head")
    assert heads == [f"{place}.{leaf}" for place in places for leaf in ("bias", "weight")]


def test_the_advice_to_reset_the_head_is_given_where_all_else_fits():
    assert advice_on(["class_heads.heads.0.bias"]) == [RESET_HEAD]
    assert advice_on(["class_heads.heads.0.bias", "level_embedding"]) == []
