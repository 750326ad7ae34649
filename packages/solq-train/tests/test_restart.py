"""A run that is killed at any step and resumed ends with the weights of one that never was."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from solq_train.provenance import file_sha256
from solq_train.run_file import write_run_file

SEED = 20211206
STEPS = 12
KILLS = 3


@pytest.fixture(scope="module")
def long_run_file(small_config, tmp_path_factory) -> Path:
    """Six epochs of two steps with pasting, slow enough to be hit, each with a checkpoint."""
    optimizer = replace(small_config.optimizer, epochs=STEPS // 2, schedule="cosine")
    data = replace(small_config.data, copy_paste=0.5)
    config = replace(
        small_config, data=data, optimizer=optimizer, checkpoint_every=1, evaluate_every=3
    )
    path = tmp_path_factory.mktemp("restart") / "long.json"
    write_run_file(path, config)
    return path


def start(run_file: Path, shapes: Path, output: Path, *arguments: str) -> subprocess.Popen[str]:
    named = ("--recipe", "tiny_cpu", "--config", run_file, "--data", shapes, "--output", output)
    command = [sys.executable, "-m", "solq_train", "train", *map(str, named), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def logged_step(output: Path) -> int:
    """The last whole line's step."""
    path = output / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return max((json.loads(line)["step"] for line in lines), default=0)


def end_at(process: subprocess.Popen[str], output: Path, step: int, signum: int) -> None:
    """Send the signal as soon as the step was logged."""
    deadline = time.monotonic() + 120
    while process.poll() is None and logged_step(output) < step:
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.005)
    process.send_signal(signum)
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_killed_at_random_steps_ends_with_the_same_weights(
    long_run_file, shapes, tmp_path, num_workers
):
    workers = ("--data.num-workers", str(num_workers))
    finish(start(long_run_file, shapes, tmp_path / "whole", *workers))
    chance = random.Random(f"{SEED} {num_workers}")
    kills = sorted(chance.sample(range(1, STEPS), KILLS))
    output = tmp_path / "parts"
    for step in kills:
        resume = ("--resume",) if output.exists() else ()
        run = start(long_run_file, shapes, output, *workers, *resume)
        end_at(run, output, step, signal.SIGKILL)
    finish(start(long_run_file, shapes, output, *workers, "--resume"))
    for name in ("last", "best"):
        whole, parts = (
            file_sha256(folder / name / "model.safetensors")
            for folder in (tmp_path / "whole", output)
        )
        assert whole == parts, f"{name}, killed at {kills}, seed {SEED}"


@pytest.mark.slow
def test_a_preempted_run_saves_and_exits_with_143(long_run_file, shapes, tmp_path):
    output = tmp_path / "run"
    process = start(long_run_file, shapes, output, "--data.num-workers", "2")
    end_at(process, output, 3, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    card = json.loads((output / "last" / "training.json").read_text())
    assert 3 <= card["step"] < STEPS
    assert card["step"] == logged_step(output)
