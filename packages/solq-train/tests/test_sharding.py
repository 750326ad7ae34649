"""Processes that hold a share of the model each, or all of it, train as one process does."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from solq_train.checkpoint import load_newest
from solq_train.criterion import LossConfig
from solq_train.data import find_split
from solq_train.distributed import Processes
from solq_train.run import prepare_run
from solq_train.run_file import write_run_file
from solq_train.sharding import whole_model

SCRIPT = Path(__file__).parent / "several_processes.py"


@pytest.fixture(scope="module")
def configs(small_config):
    """One for each kind of network and each way of sharing it."""
    model = replace(small_config.model, backbone_norm="frozen", dropout=0.0, decoder_layers=2)
    plain = replace(small_config, model=model, loss=LossConfig(mask_weight=2.0))
    frozen = replace(model, frozen_stages=1, box_refinement=False)
    spatial = replace(model, mask_head="spatial", hidden_dim=128, num_heads=8, num_feature_levels=4)
    two_stages = replace(model, two_stage=True, query_selection="mixed", first_mask_layer=1)
    return {
        "shared": plain,
        "shared-spatial": replace(plain, model=spatial, loss=LossConfig()),
        "shared-two-stages": replace(plain, model=two_stages),
        "sharded": replace(plain, sharding="full"),
        "sharded-all-options": replace(
            plain,
            model=frozen,
            sharding="full",
            ema_decay=0.5,
            checkpoint_activations=True,
            optimizer=replace(plain.optimizer, accumulate=2),
        ),
    }


@pytest.fixture(scope="module")
def folder(configs, shapes, tmp_path_factory) -> Path:
    """What two processes came to, started once for all of the runs."""
    folder = tmp_path_factory.mktemp("several")
    for name, config in configs.items():
        write_run_file(folder / f"{name}.run.json", config)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ran = subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), str(folder), str(shapes)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def found(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"{name}.found.json").read_text())


NAMES = (
    "shared",
    "shared-spatial",
    "shared-two-stages",
    "sharded",
    "sharded-all-options",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_batches_without_objects_neither_hang_nor_change_the_losses(
    folder, configs, shapes, tmp_path, name
):
    config = replace(configs[name], sharding="none")
    experience = runpy.run_path(str(SCRIPT))["experience"]
    expected = experience(config, shapes, tmp_path)["whole"]
    steps = found(folder, name)["whole"]
    assert len(steps) == len(expected) == 4
    for theirs, ours in zip(expected, steps, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_is_resumed_ends_with_the_same_weights(folder, name):
    results = found(folder, name)
    assert results["parts"] == results["whole"]
    whole, parts = results["hashes"]
    assert whole == parts


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sharded", "sharded-all-options"])
def test_a_sharded_run_goes_on_in_one_process(folder, configs, shapes, name):
    run = prepare_run(replace(configs[name], sharding="none"), find_split(shapes, "train"))
    resumed = load_newest(folder / name / "whole", run.trained)
    assert resumed is not None
    assert resumed.progress.step == 4
    moments = [state["exp_avg"] for state in run.optimizer.state.values()]
    shapes_of = [p.shape for group in run.optimizer.param_groups for p in group["params"]]
    assert [moment.shape for moment in moments] == shapes_of
    assert any(moment.abs().sum() > 0 for moment in moments)


@pytest.mark.slow
def test_a_process_holds_its_share_of_weights_gradients_and_moments(folder):
    shared, sharded = found(folder, "shared")["held"], found(folder, "sharded")["held"]
    assert shared[0] == shared[1]
    assert sum(sharded) == shared[0]
    # Tensors are cut along their first axis, so one of an odd length is not halved.
    assert max(sharded) == pytest.approx(shared[0] / 2, rel=0.01)


def test_a_model_that_is_not_sharded_is_whole(small_config, shapes):
    run = prepare_run(small_config, find_split(shapes, "train"))
    assert whole_model(run.model) is run.model
    assert run.evaluated_model is run.model


def test_one_process_has_nothing_to_shard(small_config, shapes):
    config = replace(small_config, sharding="full")
    with pytest.raises(ValueError, match="sharding must be none with one process, got full"):
        prepare_run(config, find_split(shapes, "train"))


def test_batch_norms_of_single_processes_are_refused(small_config, shapes):
    config = replace(small_config, sharding="full")
    assert config.model.backbone_norm == "batch"
    with pytest.raises(ValueError, match=r"sharding must be none .*backbone_norm=batch"):
        prepare_run(config, find_split(shapes, "train"), Processes(rank=0, count=2))


def test_an_older_torch_is_refused(small_config, shapes, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.14.1")
    config = replace(small_config, sharding="full")
    with pytest.raises(ValueError, match=r"sharding=full needs torch 2.15 or newer, found 2.14.1"):
        prepare_run(config, find_split(shapes, "train"), Processes(rank=0, count=2))
