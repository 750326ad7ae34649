"""What a run is about to do is said in lines: rates of every group, their course, the batch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from solq_train.data import find_split
from solq_train.plan import batch_advice, course, describe
from solq_train.recipes import r50_coco
from solq_train.run import prepare_run


@pytest.fixture
def run(small_config, shapes):
    return prepare_run(small_config, find_split(shapes, "train"))


def test_the_rate_and_size_of_every_parameter_group_are_stated(run):
    rates = describe(run)[-1]
    assert rates.startswith("rates ")
    for stated in ("base 0.001 (", "backbone 2e-05 (", "offsets 0.0001 ("):
        assert stated in rates


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"drop_epoch": 1}, "a tenth after steps 2"),
        ({}, "constant"),
        (
            {"schedule": "cosine", "warmup_steps": 2, "final_rate_factor": 0.1},
            "2 steps of warm-up, then a cosine to 0.1 of it at step 4",
        ),
    ],
)
def test_the_course_of_the_rates_is_said(run, changes, expected):
    assert course(replace(run.config.optimizer, **changes), run) == expected


def with_batch(size: int):
    config = r50_coco()
    return replace(config, optimizer=replace(config.optimizer, batch_size=size))


def test_the_batch_of_the_recipe_needs_no_advice():
    assert batch_advice(r50_coco(), r50_coco(), "r50_coco") == ()


def test_a_smaller_batch_is_told_of_with_the_way_to_have_the_published_one():
    (line,) = batch_advice(with_batch(6), r50_coco(), "r50_coco")
    assert "6 images a step where r50_coco has 32" in line
    assert "none is scaled with the batch" in line
    assert "--optimizer.batch-size 32 --optimizer.accumulate 6" in line


def test_a_larger_batch_is_told_of_without_advice_on_memory():
    (line,) = batch_advice(with_batch(64), r50_coco(), "r50_coco")
    assert "none is scaled" in line
    assert "accumulate" not in line
