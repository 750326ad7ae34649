"""Several processes train as one: the same losses, the same end, whoever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from solq_train.data import make_shapes
from solq_train.distributed import Processes, first_host, launched_processes, restarts
from solq_train.provenance import file_sha256
from solq_train.run_file import write_run_file

TIMING = {"images_per_second", "train_seconds"}
# Means over each process's own images, to be looked at.
DIAGNOSTICS = ("class_error", "cardinality_error")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """16 images to train on, two of them without objects, and 5 to evaluate."""
    folder = tmp_path_factory.mktemp("distributed")
    make_shapes(folder / "shapes", num_train=16, num_val=5, image_size=64)
    return folder


@pytest.fixture(scope="module")
def run_file(folder, small_config) -> Path:
    """Six steps on images of two sizes, without statistics of a batch."""
    config = replace(
        small_config,
        model=replace(small_config.model, backbone_norm="frozen", dropout=0.0),
        data=replace(small_config.data, short_sides=(48, 64)),
        optimizer=replace(small_config.optimizer, batch_size=8, epochs=3),
        checkpoint_every=1,
    )
    write_run_file(folder / "run.json", config)
    return folder / "run.json"


def command(folder: Path, run_file: Path, output: Path, processes: int, *options: str) -> list[str]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", *options]
        launcher += ["--nproc-per-node", str(processes)]
    named = ("--recipe", "tiny_cpu", "--config", run_file, "--data", folder / "shapes")
    return [*launcher, "-m", "solq_train", "train", *map(str, named), "--output", str(output)]


def run_to_the_end(arguments: list[str]) -> None:
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=300, env=environment())
    assert ran.returncode == 0, ran.stdout + ran.stderr


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def records(output: Path) -> list[dict[str, float]]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [
        {
            name: value
            for name, value in json.loads(line).items()
            if name not in TIMING and not name.startswith(DIAGNOSTICS)
        }
        for line in lines
    ]


@pytest.fixture(scope="module")
def alone(folder, run_file) -> Path:
    """What one process leaves."""
    run_to_the_end(command(folder, run_file, folder / "alone", 1))
    return folder / "alone"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_have_the_losses_of_one(folder, run_file, alone, processes):
    # Of 5 images to evaluate, 2 and 4 processes have unequal numbers; some have batches of nothing
    # but empty images to train on.
    output = folder / f"of-{processes}"
    run_to_the_end(command(folder, run_file, output, processes))
    expected, found = records(alone), records(output)
    assert len(found) == len(expected) == 9
    for theirs, ours in zip(expected, found, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=2e-5)
    assert json.loads((output / "summary.json").read_text())["steps"] == 6


@pytest.mark.slow
def test_a_run_ends_with_the_same_weights_when_a_process_is_killed(folder, run_file):
    whole, parts = folder / "whole-of-2", folder / "killed-of-2"
    run_to_the_end(command(folder, run_file, whole, 2))
    launched = subprocess.Popen(
        command(folder, run_file, parts, 2, "--max-restarts", "1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )
    kill_a_worker(launched, parts, step=2)
    output, _ = launched.communicate(timeout=300)
    assert launched.returncode == 0, output
    assert "resumed after step" in output
    name = Path("last") / "model.safetensors"
    assert file_sha256(parts / name) == file_sha256(whole / name)
    assert records(parts) == records(whole)


def kill_a_worker(launched: subprocess.Popen[str], output: Path, step: int) -> None:
    """SIGKILL to the last process of the launcher as soon as a step was logged."""
    log = output / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and f'"step": {step}' in log.read_text()):
        assert time.monotonic() < deadline, "the run makes no progress"
        assert launched.poll() is None, launched.communicate()[0]
        time.sleep(0.005)
    children = Path(f"/proc/{launched.pid}/task/{launched.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)


def test_a_process_alone_gets_back_what_it_gives():
    values = torch.tensor([1.0, 2.0])
    alone = Processes()
    assert alone.is_first
    assert torch.equal(alone.sum(values), values)
    assert torch.equal(alone.largest(values), values)
    assert alone.gather([1, 2]) == [1, 2]
    assert alone.share("x") == "x"
    alone.wait()


def test_torchrun_says_who_we_are():
    found, meeting = launched_processes({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert found == Processes(rank=5, count=8, local_rank=1)
    assert meeting == {}


def test_srun_says_who_we_are_and_where_the_first_process_listens():
    slurm = {
        "SLURM_PROCID": "3",
        "SLURM_NTASKS": "16",
        "SLURM_STEP_NUM_TASKS": "16",
        "SLURM_LOCALID": "3",
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NODELIST": "gpu[07-08]",
    }
    found, meeting = launched_processes(slurm)
    assert found == Processes(rank=3, count=16, local_rank=3)
    assert meeting == {"MASTER_ADDR": "gpu07", "MASTER_PORT": "23456"}


def test_a_step_of_a_job_meets_on_its_own_machines():
    slurm = {
        "SLURM_PROCID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_JOB_NODELIST": "gpu[001-004,007]",
        "SLURM_STEP_NODELIST": "gpu[004,007]",
        "MASTER_PORT": "29500",
    }
    found, meeting = launched_processes(slurm)
    assert found == Processes(rank=0, count=2)
    assert meeting == {"MASTER_ADDR": "gpu004", "MASTER_PORT": "29500"}


def test_torchrun_within_a_slurm_job_decides():
    slurm = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"}
    torchrun = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1"}
    found, meeting = launched_processes(slurm | torchrun)
    assert found == Processes(rank=9, count=16, local_rank=1)
    assert meeting == {}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1"},
        # A batch script without srun: the job may have more tasks, but they are not started.
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_NODELIST": "gpu[1-2]"},
        # A shell of salloc: a step of one task within such a job.
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_without_a_launcher_of_several_the_process_is_alone(environment):
    assert launched_processes(environment) == (Processes(), {})


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("node[3-5]", "node3"),
        ("node[03-05,9],login", "node03"),
        ("a-b[12,14]", "a-b12"),
        ("gpu[001-004,007]", "gpu001"),
        ("gpu7,gpu[001-004]", "gpu7"),
        ("rack[1-2]n[03-04]", "rack1n03"),
        ("n[1-2].cluster,other", "n1.cluster"),
    ],
)
def test_the_first_machine_of_a_list_is_found(nodes, host):
    assert first_host({"SLURM_JOB_NODELIST": nodes}) == host


def test_a_job_without_machines_is_refused_by_name():
    with pytest.raises(ValueError, match="SLURM_JOB_NODELIST must name the machines"):
        first_host({})


def test_restarts_are_counted():
    assert restarts({}) == 0
    assert restarts({"TORCHELASTIC_RESTART_COUNT": "2"}) == 2
