"""`python -m solq_ops`: the table, a line for each check, and an exit code."""

import subprocess
import sys

import pytest
import torch

import solq_ops
from solq_ops import __main__ as program


def test_program_prints_the_backend_and_passes_its_own_check():
    command = [sys.executable, "-m", "solq_ops"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert str(solq_ops.backend().cpu.implementation) in completed.stdout
    assert completed.stdout.count(" OK\n") >= 8
    assert completed.stdout.endswith("\nOK\n")


@pytest.mark.parametrize("name", program.OPERATORS)
@pytest.mark.parametrize("dtype", program.TOLERANCES, ids=str)
def test_self_check_passes_on_every_implementation(name, dtype, kernel_device):
    forward, backward = program.self_check(name, dtype, kernel_device)
    assert forward <= program.TOLERANCES[dtype][0]
    assert backward <= program.TOLERANCES[dtype][1]


@pytest.mark.parametrize("wrong", [1.001, torch.nan])
def test_wrong_kernel_fails_the_check(wrong, monkeypatch, capsys):
    operator, definition = program.OPERATORS["ms_deform_attn"]
    broken = {"ms_deform_attn": (lambda *tensors: operator(*tensors) * wrong, definition)}
    monkeypatch.setattr(program, "OPERATORS", broken)
    assert program.main() == 1
    printed = capsys.readouterr().out
    assert "float32   forward" in printed
    assert printed.splitlines()[-1].startswith("FAILED: ")
