"""A step that came to no number is kept whole, and comes to the same when it is repeated."""

from __future__ import annotations

import json

import pytest
import torch

from solq_train.data import find_split
from solq_train.failure import CARD, FAILURE, NonFiniteError, replay
from solq_train.run import prepare_run
from solq_train.step import train_step


@pytest.fixture
def failed(small_config, shapes, tmp_path):
    """The folder of a step whose first convolution overflows."""
    run = prepare_run(small_config, find_split(shapes, "train"))
    batch = next(iter(run.loader))
    with torch.no_grad():
        run.model.backbone.body.conv1.weight.fill_(torch.finfo(torch.float32).max)
    with pytest.raises(NonFiniteError):
        train_step(run, batch, 7, tmp_path)
    return tmp_path / FAILURE


def test_a_repeated_step_comes_to_the_same_terms_and_says_where_it_begins(failed):
    found = replay(failed)
    assert found.step == 7
    assert found.same_weights
    assert not found.finite
    kept = json.loads((failed / CARD).read_text())["terms"]
    assert {name: repr(value) for name, value in found.terms.items()} == kept
    assert found.first_module == "backbone.body.conv1"


def test_a_folder_without_code_only_is_read(failed):
    content = torch.load(failed / "batch.pt", weights_only=True)
    assert set(content) == {"images", "targets"}
    assert {image.dtype for image in content["images"]} == {torch.uint8}


def test_weights_that_were_exchanged_are_noticed(failed):
    card = json.loads((failed / CARD).read_text())
    card["weights_sha256"] = "0" * 64
    (failed / CARD).write_text(json.dumps(card))
    assert not replay(failed).same_weights


@pytest.mark.parametrize("damage", ["failure.json", "batch.pt"])
def test_a_folder_of_something_else_is_refused_by_name(failed, damage):
    (failed / damage).write_bytes(b"{}")
    with pytest.raises(ValueError, match="not the folder of a step that came to no number"):
        replay(failed)
