"""`solq replay`: what a step that came to no number comes to again."""

from __future__ import annotations

import pytest
import torch

from solq_train.data import find_split
from solq_train.failure import FAILURE, NonFiniteError
from solq_train.run import prepare_run
from solq_train.step import train_step


def test_a_step_is_repeated_and_the_place_is_named(solq, small_config, shapes, tmp_path):
    run = prepare_run(small_config, find_split(shapes, "train"))
    batch = next(iter(run.loader))
    with torch.no_grad():
        run.model.backbone.body.conv1.weight.fill_(torch.finfo(torch.float32).max)
    with pytest.raises(NonFiniteError):
        train_step(run, batch, 3, tmp_path)
    ran = solq("replay", tmp_path / FAILURE)
    assert ran.code == 1
    assert "step 3" in ran.output
    assert "first output that is not finite: backbone" in ran.output
    assert "not finite again" in ran.output


def test_a_folder_of_something_else_is_refused(solq, trained):
    ran = solq("replay", trained / "best")
    assert ran.code == 2
    assert f"{trained / 'best'}: not the folder of a step that came to no number" in ran.errors
